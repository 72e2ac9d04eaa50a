//! One exchange of any request whose body is known, over one connection: the whole request, then the response as it comes in.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use engine::failure::{Code, Failure};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::{Body as _, Frame as BodyFrame};
use tonic::Status;
use tonic::body::Body;

use super::endpoint::{Endpoint, Slot};
use super::exchange::{self, Sent};
use super::fault::Fault;
use super::frame::Frame;
use super::{headers, status};

/// Sends the whole request before it looks at the response, as clients without a stream of requests do.
/// The slot is held until the response has ended.
pub(crate) async fn send(
    requests: SendRequest<Frame>,
    endpoint: &Endpoint,
    slot: Option<Slot>,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    headers::authorize(&mut parts.headers, endpoint.identity()).map_err(of_fault)?;
    let head = headers::head(parts, endpoint.identity().scheme(), endpoint.authority());
    let head = head.ok_or_else(|| Status::internal("the request came without a path"))?;
    let (mut response, mut stream) = exchange::open(requests, head).await.map_err(of_fault)?;

    let mut body = pin!(body);
    let answer = loop {
        let frame = poll_fn(|cx| body.as_mut().poll_frame(cx)).await.transpose()?;
        let data = frame.and_then(|frame| frame.into_data().ok());
        let last = data.is_none();
        match exchange::send(&mut stream, &mut response, Frame::raw(data.unwrap_or_default()), last, None).await {
            Ok(Sent::Whole) if last => break response.await,
            Ok(Sent::Whole) => {}
            Ok(Sent::Answered(answer)) => break answer,
            Err(fault) => return Err(of_fault(fault)),
        }
    };
    let (mut head, body) = answer.map_err(|error| of_fault(Fault::of_stream(&error, false)))?.into_parts();
    status::clean(&mut head.headers);
    Ok(Response::from_parts(head, Body::new(Incoming { stream: body, ended: false, _slot: slot })))
}

fn of_fault(fault: Fault) -> Status {
    as_status(&Failure::new(fault.code, fault.message))
}

/// The status that says of a call what the failure says.
pub(crate) fn as_status(failure: &Failure) -> Status {
    debug_assert_ne!(failure.code(), Code::Ok);
    Status::new(tonic::Code::from_i32(failure.code() as i32), failure.message())
}

/// The response as it comes in.
struct Incoming {
    stream: RecvStream,
    /// All data is read; trailers are next.
    ended: bool,
    _slot: Option<Slot>,
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, Status>>> {
        let failed = |error: h2::Error| Some(Err(of_fault(Fault::of_stream(&error, true))));
        if !self.ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    let length = data.len();
                    // An error means that the stream is gone, which the next poll says.
                    let _ = self.stream.flow_control().release_capacity(length);
                    return Poll::Ready(Some(Ok(BodyFrame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(failed(error)),
                None => self.ended = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(Some(mut trailers)) => {
                status::clean(&mut trailers);
                Some(Ok(BodyFrame::trailers(trailers)))
            }
            Ok(None) => None,
            Err(error) => failed(error),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
