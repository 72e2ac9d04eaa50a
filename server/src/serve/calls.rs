//! The way of every call from its connection to its handler and back: counted, bounded in bytes and time, and for reads
//! admitted a few at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine::store::{ForCaller, for_caller};
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};

use super::bodies::{Answer, Held, Received};
use super::bounds::{Bounds, LONGEST_REST, READ_OUT, REQUEST, REST, SMALL, TALK, WAIT_FOR_ROOM, WAITING_READS};
use super::peer::{Call, Peer};
use crate::access::{Guard, Shown};
use crate::admin::{CALLER, Class, status};

/// What the calls of one listener share.
pub(super) struct Door {
    pub(super) bounds: Bounds,
    routes: Routes,
    class: fn(&str) -> Class,
    /// Checks every call; none where there is nothing to protect.
    guard: Option<Guard>,
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    waiting_reads: Semaphore,
    requests: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    closing: CancellationToken,
}

impl Door {
    pub(super) fn new(
        bounds: Bounds,
        routes: Routes,
        class: fn(&str) -> Class,
        guard: Option<Guard>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            closing,
            guard,
            routes: routes.prepare(),
            class,
            calls: Arc::new(Semaphore::new(bounds.calls)),
            watches: Arc::new(Semaphore::new(bounds.watches)),
            reads: Arc::new(Semaphore::new(bounds.reads)),
            waiting_reads: Semaphore::new(WAITING_READS),
            requests: Arc::new(Semaphore::new(bounds.request_bytes)),
            answers: Arc::new(Semaphore::new(bounds.answer_bytes)),
            bounds,
        }
    }

    async fn admit(&self, class: Class) -> Result<Admitted, Status> {
        Ok(match class {
            Class::Read => {
                let waiting = self.waiting_reads.try_acquire();
                let _waiting = waiting.map_err(|_| status::busy("too many reads wait for their turn"))?;
                let turn = self.closing.run_until_cancelled(Arc::clone(&self.reads).acquire_owned()).await;
                let turn = turn.ok_or_else(status::draining)?;
                Admitted { read: turn.ok().map(|turn| (turn, Instant::now())), watch: None }
            }
            Class::Watch => {
                let watch = Arc::clone(&self.watches).try_acquire_owned();
                let watch = watch.map_err(|_| status::busy("there are too many streams of answers"))?;
                Admitted { read: None, watch: Some(watch) }
            }
            Class::Other => Admitted { read: None, watch: None },
        })
    }

    async fn answered(
        &self,
        class: Class,
        request: Request<Received>,
        call: Call,
        place: OwnedSemaphorePermit,
    ) -> Response<Answer> {
        let Admitted { read, watch } = match self.admit(class).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                read_out(request.into_body()).await;
                return refusal(refused);
            }
        };
        let mut routes = self.routes.clone();
        let Ok(response) = ForCaller::new(tower::Service::call(&mut routes, request)).await;
        let (parts, mut body) = readable(response).into_parts();
        if class == Class::Watch {
            let answer = Answer::stream(body, call, [Some(place), watch], Arc::clone(&self.answers));
            return Response::from_parts(parts, answer);
        }
        // Encoded here, so that what the peer does not take is known by its size.
        let first = match for_caller(|| body.frame().now_or_never()) {
            Some(Some(Ok(first))) => Some(first),
            Some(Some(Err(error))) => return refusal(error),
            Some(None) | None => None,
        };
        let length = first.as_ref().and_then(Frame::data_ref).map_or(0, bytes::Bytes::len);
        let held = match self.room_for(length).await {
            Ok(held) => held,
            Err(refused) => return refusal(refused),
        };
        if let Some((turn, began)) = read {
            self.rest(turn, began.elapsed());
        }
        Response::from_parts(parts, Answer::whole(body, first, held, call, [Some(place), None]))
    }

    /// Gives a turn to the next read. Where some wait, not before a rest: so however many come, most of the time is left to
    /// the runs, and the busier the process is the more of it.
    fn rest(&self, turn: OwnedSemaphorePermit, took: Duration) {
        if self.waiting_reads.available_permits() < WAITING_READS && !self.closing.is_cancelled() {
            let rest = (took * REST).min(LONGEST_REST);
            tokio::spawn(async move {
                sleep(rest).await;
                drop(turn);
            });
        }
    }

    /// Room for an answer. Small ones always have it.
    async fn room_for(&self, length: usize) -> Result<Option<OwnedSemaphorePermit>, Status> {
        if length <= SMALL {
            return Ok(None);
        }
        let length = u32::try_from(length.min(self.bounds.answer_bytes)).unwrap_or(u32::MAX);
        let room = timeout(WAIT_FOR_ROOM, Arc::clone(&self.answers).acquire_many_owned(length)).await;
        match room {
            Ok(room) => Ok(room.ok()),
            Err(_) => Err(status::busy("callers have not taken the answers that they asked for")),
        }
    }
}

/// What a call has while it is worked on.
struct Admitted {
    /// Its turn, and since when.
    read: Option<(OwnedSemaphorePermit, Instant)>,
    watch: Option<OwnedSemaphorePermit>,
}

/// The calls of one connection.
pub(super) struct Calls {
    door: Arc<Door>,
    peer: Arc<Peer>,
    /// What the connection says of its caller.
    shown: Shown,
}

impl Calls {
    pub(super) fn new(door: Arc<Door>, peer: Arc<Peer>, shown: Shown) -> Self {
        Self { door, peer, shown }
    }
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = Arc::clone(&self.door);
        let Ok(place) = Arc::clone(&door.calls).try_acquire_owned() else {
            return Box::pin(async {
                read_out(request.into_body()).await;
                Ok(refusal(status::busy("there are too many calls")))
            });
        };
        let mut call = Call::begin(Arc::clone(&self.peer));
        let mut request = request;
        let mut caller = None;
        if let Some(guard) = &door.guard {
            let path = request.uri().path();
            let said = said(request.headers());
            match guard.admit(path, request.headers(), &self.shown) {
                // What proved it is of no use behind this, and cannot be told by mistake.
                Ok((access, inside)) => {
                    call.counts(inside);
                    let principal = access.principal().map(str::to_owned);
                    caller = principal.map(|principal| (guard.clone(), principal, path.to_owned(), said.to_owned()));
                    request.headers_mut().remove(AUTHORIZATION);
                    request.extensions_mut().insert(access);
                }
                Err(denied) => {
                    guard.refused(denied.principal(), path, said, &denied.to_string());
                    return Box::pin(async move {
                        let _held = (call, place);
                        read_out(request.into_body()).await;
                        Ok(refusal(status::denied(&denied)))
                    });
                }
            }
        }
        let class = (door.class)(request.uri().path());
        let within = deadline(request.headers());
        let held = Held::new(Arc::clone(&door.requests));
        let pace = if class == Class::Watch { TALK } else { REQUEST };
        let mut request = request.map(|body| Received::new(body, Arc::clone(&held), Arc::clone(&call.0), pace));
        // Handlers that keep the message keep this with it.
        request.extensions_mut().insert(held);
        Box::pin(async move {
            let answered = door.answered(class, request, call, place);
            let answer = match within {
                None => answered.await,
                Some(within) => timeout(within, answered).await.unwrap_or_else(|_| refusal(status::late())),
            };
            // What a handler refuses because of what the request names.
            if let Some((guard, principal, path, said)) = caller
                && let Some(refused) = Status::from_header_map(answer.headers())
                && matches!(refused.code(), Code::PermissionDenied | Code::Unauthenticated)
            {
                guard.refused(Some(&principal), &path, &said, refused.message());
            }
            Ok(answer)
        })
    }
}

/// What a handler answered; where it was never asked because the request could not be read, in the words of our statuses.
fn readable(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(said) if said.details().is_empty() && is_of_framework(said.code()) => status::of_unread(&said).into_http(),
        _ => response,
    }
}

/// Our handlers give details with each of these.
const fn is_of_framework(code: Code) -> bool {
    matches!(code, Code::OutOfRange | Code::Internal | Code::Unimplemented | Code::ResourceExhausted | Code::Unknown)
}

/// Reads a small request to its end: one that is refused before that is reset, and of many resets HTTP/2 makes an attack.
async fn read_out<B: http_body::Body<Data = bytes::Bytes> + Unpin>(mut body: B) {
    let mut left = SMALL;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) else { return };
            left = rest;
        }
    };
    // Slow ones are reset.
    let _late = timeout(READ_OUT, reading).await;
}

fn refusal(status: Status) -> Response<Answer> {
    let (parts, _) = status.into_http::<Body>().into_parts();
    Response::from_parts(parts, Answer::none())
}

/// What the caller calls itself; empty where it says nothing that can be a name.
fn said(headers: &HeaderMap) -> &str {
    headers.get(CALLER).and_then(|said| said.to_str().ok()).unwrap_or_default()
}

/// The time that the caller gives, as gRPC writes it in a header.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline(&headers)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for text in ["", "S", "1", "-1S", "1.5S", "123456789S", "1é", "1s"] {
            let value = http::HeaderValue::from_bytes(text.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value);
            assert_eq!(deadline(&headers), None, "{text}");
        }
    }
}
