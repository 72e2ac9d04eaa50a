//! One unary request and its response over a connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use engine::claim::Claim;
use engine::failure::Code;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Request, Response, StatusCode};

use super::fault::Fault;
use super::frame::{Frame, PREFIX};
use super::status;

/// Sends the message and waits for the answer, which comes back with its prefix.
///
/// `handed` becomes true when the last byte of the message is handed over; before that the peer has no request. Dropping
/// the future resets the stream.
pub(crate) async fn unary(
    requests: SendRequest<Frame>,
    head: Request<()>,
    message: Frame,
    max_response_bytes: usize,
    claim: &dyn Claim,
    handed: &mut bool,
) -> Result<Bytes, Fault> {
    check(claim)?;
    let (mut response, mut stream) = open(requests, head).await?;
    let answer = match send(&mut stream, &mut response, message, true, Some(claim)).await? {
        Sent::Whole => {
            *handed = true;
            poll_fn(|cx| Pin::new(&mut response).poll(cx)).await
        }
        Sent::Answered(answer) => answer,
    };
    receive(answer.map_err(|error| Fault::of_stream(&error, false))?, max_response_bytes).await
}

/// Opens a stream: when this returns, the peer may have seen the head of the request and nothing else.
pub(crate) async fn open(
    mut requests: SendRequest<Frame>,
    head: Request<()>,
) -> Result<(ResponseFuture, SendStream<Frame>), Fault> {
    let unsent = |error: h2::Error| Fault::not_taken(Code::Unavailable, format!("no stream could be opened: {error}"));
    poll_fn(|cx| requests.poll_ready(cx)).await.map_err(unsent)?;
    let (response, stream) = requests.send_request(head, false).map_err(unsent)?;
    // Pending where the peer allows no more streams for the moment.
    poll_fn(|cx| requests.poll_ready(cx)).await.map_err(unsent)?;
    Ok((response, stream))
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

async fn receive(response: Response<RecvStream>, max_bytes: usize) -> Result<Bytes, Fault> {
    let (head, mut body) = response.into_parts();
    if let Some(stated) = status::read(&head.headers) {
        return Err(match stated.code {
            Code::Ok => Fault::inferred(Code::Internal, "the status is OK, and there is no message"),
            _ => Fault::stated(stated, false),
        });
    }
    if head.status != StatusCode::OK {
        return Err(Fault::of_http(head.status));
    }
    check_content_type(&head.headers)?;

    let mut answer = Answer { bytes: Whole::default(), max_bytes };
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

/// A response message as it comes in.
struct Answer {
    bytes: Whole,
    max_bytes: usize,
}

/// Most answers come in one piece, which then is not copied.
enum Whole {
    One(Bytes),
    Many(BytesMut),
}

impl Default for Whole {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Answer {
    /// Says whether the message is complete.
    fn push(&mut self, chunk: Bytes) -> Result<bool, Fault> {
        match &mut self.bytes {
            Whole::One(first) if first.is_empty() => *first = chunk,
            Whole::One(first) => {
                let mut many = BytesMut::with_capacity(first.len() + chunk.len());
                many.extend_from_slice(first);
                many.extend_from_slice(&chunk);
                self.bytes = Whole::Many(many);
            }
            Whole::Many(many) => many.extend_from_slice(&chunk),
        }
        let Some(length) = self.announced()? else { return Ok(false) };
        if self.length() > length {
            return Err(Fault::inferred(Code::Internal, "the response holds more than one message"));
        }
        if let Whole::Many(many) = &mut self.bytes {
            many.reserve(length - many.len());
        }
        Ok(self.length() == length)
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Whole::One(bytes) => bytes,
            Whole::Many(bytes) => bytes,
        }
    }

    fn length(&self) -> usize {
        self.bytes().len()
    }

    /// The length with the prefix, as the prefix states it; none while the prefix is not complete.
    fn announced(&self) -> Result<Option<usize>, Fault> {
        let Some((&[flag, a, b, c, d], _)) = self.bytes().split_first_chunk::<PREFIX>() else { return Ok(None) };
        if flag != 0 {
            let message = "the response message is compressed, and no compression was offered";
            return Err(Fault::inferred(Code::Internal, message));
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.max_bytes {
            let message = format!("the response message has {length} bytes, more than the {} allowed", self.max_bytes);
            return Err(Fault::inferred(Code::ResourceExhausted, message));
        }
        Ok(Some(PREFIX + length))
    }

    fn finish(self) -> Result<Bytes, Fault> {
        match self.announced()? {
            Some(length) if self.length() == length => Ok(match self.bytes {
                Whole::One(bytes) => bytes,
                Whole::Many(bytes) => bytes.freeze(),
            }),
            _ if self.length() == 0 => {
                Err(Fault::inferred(Code::Internal, "the status is OK, and there is no message"))
            }
            _ => Err(Fault::inferred(Code::Internal, "the response ended inside its message")),
        }
    }
}
