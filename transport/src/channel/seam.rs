//! The seam: what a generated client stands on for one call, and what turns that call into an exchange.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::claim::Claim;
use engine::failure::{Code, Failure};
use engine::transport::{Attempt, Outcome};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame as BodyFrame;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::Service;
use tower::util::BoxService;
use uuid::Uuid;

use super::answer::{Bounds, Message};
use super::endpoint::Slot;
use super::exchange::Outgoing;
use super::fault::Fault;
use super::frame::{Frame, PREFIX};
use super::reserved::Reserved;
use super::{Received, Stored, Terms, exchange, headers};

/// The service that a generated client is built over for one call. It can be called once.
pub struct Seam(Kind);

enum Kind {
    /// Boxed, because the client keeps its seam until the answer is there.
    Once(Option<Box<(Reserved, Attempt, Terms)>>),
    Other(BoxService<Request<Body>, Response<Body>, Status>),
}

impl Seam {
    /// A seam over any service.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Status> + Send + 'static,
        S::Future: Send,
    {
        Self(Kind::Other(BoxService::new(service)))
    }

    /// A seam that makes this attempt over what was reserved. Of the attempt, the request comes as [`Stored`].
    pub fn once(reserved: Reserved, attempt: Attempt, terms: Terms) -> Self {
        Self(Kind::Once(Some(Box::new((reserved, attempt, terms)))))
    }
}

impl fmt::Debug for Seam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seam").finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Seam {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        match &mut self.0 {
            Kind::Once(_) => Poll::Ready(Ok(())),
            Kind::Other(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match &mut self.0 {
            Kind::Other(service) => service.call(request),
            Kind::Once(call) => {
                let prepared = match call.take() {
                    Some(call) => {
                        let (reserved, attempt, terms) = *call;
                        Prepared::new(reserved, attempt, terms, request)
                    }
                    None => Err(Fault::withheld(Code::Internal, "the seam was called a second time")),
                };
                match prepared {
                    Ok(prepared) => Box::pin(prepared.send()),
                    Err(fault) => Box::pin(std::future::ready(Err(fault.verdict(false).into_status()))),
                }
            }
        }
    }
}

/// One attempt, ready to be sent: what is kept while it is under way, and no more.
struct Prepared {
    request: Box<Outgoing>,
    slot: Slot,
    bounds: Bounds,
    claim: Arc<dyn Claim>,
    run: Uuid,
    number: u32,
    started: Instant,
    deadline: Instant,
}

impl Prepared {
    /// Checks the attempt and makes the head of its request. What is refused here was withheld.
    fn new(reserved: Reserved, attempt: Attempt, terms: Terms, request: Request<Body>) -> Result<Self, Fault> {
        let Reserved { requests, slot } = reserved;
        let (mut parts, _) = request.into_parts();
        let Some(Stored(message)) = parts.extensions.remove::<Stored>() else {
            return Err(Fault::withheld(Code::Internal, "the request came without its stored bytes"));
        };
        let (length, limit) = (message.len(), terms.max_request_bytes);
        let Some(message) = Frame::of(message).filter(|_| length <= limit) else {
            let message = format!("the request message has {length} bytes, more than the {limit} allowed");
            return Err(Fault::withheld(Code::ResourceExhausted, message));
        };
        let started = Instant::now();
        // A timeout asks the future before it asks the clock, and an exchange is sent when it is first asked.
        if attempt.deadline <= started {
            return Err(Fault::withheld(Code::DeadlineExceeded, "the deadline had passed before the call"));
        }
        headers::describe(&mut parts.headers, &attempt, terms.trace, terms.previous_attempts, started);
        if terms.attempt_header {
            headers::tell_attempt(&mut parts.headers, &attempt, started);
        }
        let identity = slot.endpoint().identity();
        headers::authorize(&mut parts.headers, identity)?;
        let Some(head) = headers::head(parts, identity.scheme(), slot.endpoint().authority()) else {
            return Err(Fault::withheld(Code::Internal, "the request came without a path"));
        };
        let bounds = Bounds { max_bytes: terms.max_response_bytes, max_messages: terms.max_stream_messages };
        let Attempt { claim, run, number, deadline, .. } = attempt;
        let request = Box::new(Outgoing { requests, head, message });
        Ok(Self { request, slot, bounds, claim, run, number, started, deadline })
    }

    /// Sends it and waits for the answer.
    fn send(self) -> impl Future<Output = Result<Response<Body>, Status>> + Send {
        let Self { request, slot, bounds, claim, run, number, started, deadline } = self;
        // A block, because a function keeps its arguments twice, and a run in flight keeps all of this.
        async move {
            let mut handed = false;
            let ended = {
                let exchange = pin!(exchange::make(request, bounds, claim.as_ref(), &mut handed));
                timeout_at(deadline, exchange).await
            };
            let late = |_| Err(Fault::given_up(Code::DeadlineExceeded, "no answer before the deadline"));
            let ended = ended.unwrap_or_else(late);
            match ended {
                Ok(answer) => {
                    drop(slot);
                    Ok(response(answer))
                }
                Err(fault) => {
                    let mut verdict = fault.verdict(handed);
                    verdict.outcome = at_the_deadline(verdict.outcome, started, deadline);
                    tracing::debug!(
                        service = slot.endpoint().service(), address = %slot.endpoint().peer(), run = %run,
                        attempt = number, %verdict, "call failed"
                    );
                    Err(verdict.into_status())
                }
            }
        }
    }
}

/// Servers drop a call at its deadline by themselves and say, or let HTTP say, that it was cancelled.
fn at_the_deadline(outcome: Outcome, started: Instant, deadline: Instant) -> Outcome {
    let left = deadline.saturating_duration_since(Instant::now());
    let about = deadline.saturating_duration_since(started) / 20;
    match outcome {
        Outcome::Ambiguous { failure, retry_after } if failure.code() == Code::Cancelled && left <= about => {
            let message = format!("given up by the service at the deadline: {}", failure.message());
            let failure = Failure::new(Code::DeadlineExceeded, message).with_details(failure.details().to_vec());
            Outcome::Ambiguous { failure, retry_after }
        }
        outcome => outcome,
    }
}

/// The answer as the generated client reads it: a message that is decoded, or a stream that is collected already.
fn response(answer: Message) -> Response<Body> {
    let (body, received) = match answer {
        Message::Single(answer) => {
            let received = answer.slice(PREFIX.min(answer.len())..);
            (Answered::Message(answer), received)
        }
        Message::Collected(received) => (Answered::Trailers, received),
    };
    let mut response = Response::new(Body::new(body));
    response.extensions_mut().insert(Received(received));
    response
}

/// A message and the trailers that say OK.
enum Answered {
    Message(Bytes),
    Trailers,
    End,
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        Poll::Ready(match std::mem::replace(this, Self::End) {
            Self::Message(message) => {
                *this = Self::Trailers;
                Some(Ok(BodyFrame::data(message)))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
                Some(Ok(BodyFrame::trailers(trailers)))
            }
            Self::End => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_cancellation_is_the_deadline_only_where_that_has_about_passed() {
        let (started, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(10));
        let seen = |code| {
            let outcome = Fault::inferred(code, "Timeout expired").verdict(true).outcome;
            match at_the_deadline(outcome, started, deadline) {
                Outcome::Ambiguous { failure, .. } => failure.code(),
                other => panic!("{other:?}"),
            }
        };
        tokio::time::advance(Duration::from_millis(9_400)).await;
        assert_eq!(seen(Code::Cancelled), Code::Cancelled);
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(seen(Code::Cancelled), Code::DeadlineExceeded);
        assert_eq!(seen(Code::Unavailable), Code::Unavailable);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(seen(Code::Cancelled), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn the_answer_that_the_client_reads_is_the_one_that_came() {
        let response = response(Message::Single(Bytes::from_static(b"\0\0\0\0\x02hi")));
        assert_eq!(response.extensions().get::<Received>().unwrap().0, "hi");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), b"\0\0\0\0\x02hi".as_slice());
    }
}
