//! One request and its answer over a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Buf;
use engine::claim::Claim;
use engine::failure::Code;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::response::Parts;
use http::{Request, Response, StatusCode};

use super::answer::{Answer, Bounds, Message};
use super::encoding::Encoding;
use super::fault::Fault;
use super::frame::Frame;
use super::status;

/// A request that has not left. It is boxed while it waits to: a call keeps the room for it until it has its answer.
pub(crate) struct Outgoing {
    pub(crate) requests: SendRequest<Frame>,
    pub(crate) head: Request<()>,
    pub(crate) message: Frame,
}

impl Outgoing {
    /// Frees the box now, and not where its owner ends.
    fn unboxed(self: Box<Self>) -> Self {
        *self
    }
}

/// Sends the message and waits for the whole answer.
///
/// `handed` becomes true when the last byte of the message is handed over; before that the peer has no request. Dropping
/// the future resets the stream.
///
/// Like `open`, a function that returns a block: an `async fn` keeps its arguments twice.
#[expect(clippy::manual_async_fn, reason = "every call in flight holds this future, which is smaller so")]
pub(crate) fn make(
    request: Box<Outgoing>,
    bounds: Bounds,
    claim: &dyn Claim,
    handed: &mut bool,
) -> impl Future<Output = Result<Message, Fault>> + Send {
    async move {
        check(claim)?;
        let Outgoing { requests, head, message } = request.unboxed();
        let (mut response, mut stream) = open(requests, head).await?;
        let answer = match send(&mut stream, &mut response, message, true, Some(claim)).await? {
            Sent::Whole => {
                *handed = true;
                poll_fn(|cx| Pin::new(&mut response).poll(cx)).await
            }
            Sent::Answered(answer) => answer,
        };
        receive(answer.map_err(|error| Fault::of_stream(&error, false))?, bounds).await
    }
}

/// Opens a stream: when this returns, the peer may have seen the head of the request and nothing else.
pub(crate) fn open(
    mut requests: SendRequest<Frame>,
    head: Request<()>,
) -> impl Future<Output = Result<(ResponseFuture, SendStream<Frame>), Fault>> + Send {
    let unsent = |error: h2::Error| Fault::unsent(&error, "no stream could be opened");
    async move {
        poll_fn(|cx| requests.poll_ready(cx)).await.map_err(unsent)?;
        let (response, stream) = requests.send_request(head, false).map_err(unsent)?;
        // Pending where the peer allows no more streams for the moment.
        poll_fn(|cx| requests.poll_ready(cx)).await.map_err(unsent)?;
        Ok((response, stream))
    }
}

fn check(claim: &dyn Claim) -> Result<(), Fault> {
    if claim.is_held() { Ok(()) } else { Err(Fault::withheld(Code::Aborted, "the claim on the run was lost")) }
}

pub(crate) enum Sent {
    /// All of it was handed over.
    Whole,
    /// The response began before that.
    Answered(Result<Response<RecvStream>, h2::Error>),
}

/// Hands the frame over as the peer has room for it, so that what is not handed over has surely not left. The claim is
/// asked right before its last byte.
pub(crate) async fn send(
    stream: &mut SendStream<Frame>,
    response: &mut ResponseFuture,
    mut frame: Frame,
    last: bool,
    claim: Option<&dyn Claim>,
) -> Result<Sent, Fault> {
    loop {
        let left = frame.remaining();
        stream.reserve_capacity(left);
        let room = stream.capacity().min(left);
        if room == left {
            claim.map_or(Ok(()), check)?;
            return match stream.send_data(frame, last) {
                Ok(()) => Ok(Sent::Whole),
                // Where the peer has ended the stream, its own word says more than "the stream is closed".
                Err(_) => Ok(Sent::Answered(response.await)),
            };
        }
        if room > 0 && stream.send_data(frame.split_to(room), false).is_ok() {
            continue;
        }
        let mut closed = room > 0;
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answer) = Pin::new(&mut *response).poll(cx) {
                return Poll::Ready(Some(answer));
            }
            if closed {
                return Poll::Pending;
            }
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => Poll::Ready(None),
                // The stream is closed, and the response says why.
                Poll::Ready(_) => {
                    closed = true;
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(answer) = answered.await {
            return Ok(Sent::Answered(answer));
        }
    }
}

/// Reads the rest of an answer whose head is there.
fn receive(response: Response<RecvStream>, bounds: Bounds) -> impl Future<Output = Result<Message, Fault>> + Send {
    let (head, mut body) = response.into_parts();
    let begun = begun(&head, Answer::within(bounds, Encoding::of(&head.headers)));
    async move {
        let mut answer = match begun? {
            Begun::More(answer) => answer,
            Begun::Whole(message) => return Ok(message),
        };
        while let Some(chunk) = poll_fn(|cx| body.poll_data(cx)).await {
            let chunk = chunk.map_err(|error| Fault::of_stream(&error, true))?;
            let length = chunk.len();
            if !answer.push(chunk)? {
                // What a complete answer took is given back with the stream.
                let _ = body.flow_control().release_capacity(length);
            }
        }
        let trailers = body.trailers().await.map_err(|error| Fault::of_stream(&error, true))?;
        match trailers.as_ref().and_then(status::read) {
            None => Err(Fault::inferred(Code::Unknown, "the response ended without a grpc-status")),
            Some(stated) if stated.code != Code::Ok => Err(Fault::stated(stated, true)),
            Some(_) => answer.finish(),
        }
    }
}

enum Begun {
    More(Answer),
    Whole(Message),
}

/// What the head of an answer says.
fn begun(head: &Parts, answer: Answer) -> Result<Begun, Fault> {
    match status::read(&head.headers) {
        // A stream may be empty, which a single message may not.
        Some(stated) if stated.code == Code::Ok => return answer.finish().map(Begun::Whole),
        Some(stated) => return Err(Fault::stated(stated, false)),
        None => {}
    }
    if head.status != StatusCode::OK {
        return Err(Fault::of_http(head.status));
    }
    check_content_type(&head.headers)?;
    Ok(Begun::More(answer))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let value = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    match value.strip_prefix(b"application/grpc").map(|rest| rest.first()) {
        Some(None | Some(b'+' | b';' | b' ')) => Ok(()),
        _ => {
            let value = String::from_utf8_lossy(value);
            Err(Fault::inferred(Code::Unknown, format!("the response is no gRPC: its content-type is `{value}`")))
        }
    }
}
