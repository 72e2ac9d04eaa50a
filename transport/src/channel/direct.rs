//! A channel for programs of ours that call services by themselves, as the command line does: any generated client stands
//! on it, unary or with a stream of responses.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use engine::failure::{Code, Failure};
use futures_util::future::BoxFuture;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, Response};
use http_body::{Body as _, Frame as BodyFrame};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::balance::Balancing;
use super::endpoint::{Endpoint, Slot};
use super::exchange::{self, Sent};
use super::fault::Fault;
use super::frame::Frame;
use super::identity::{Identity, IdentityConfig, IdentityMistake};
use super::reserve::{Channel, Reserved};
use super::target::{Target, TargetError};
use super::{ChannelConfig, headers, status};

/// What a connect may take longer before the wait for it is given up; its own error says more.
const GRACE: Duration = Duration::from_secs(1);

/// A channel for direct use. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Direct(Channel);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What should say who we are does not.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Identity(Vec<IdentityMistake>),
}

/// A channel to the target (`http://host:port`, or any other form of [`Target`]) that connects with the first call.
///
/// # Errors
/// The text is no target, or it asks for TLS and the system has no roots to trust.
pub fn connect(target: &str) -> Result<Direct, ConnectError> {
    connect_as(target, &IdentityConfig::default())
}

/// The same with an identity.
///
/// # Errors
/// The text is no target, or the identity cannot be read.
pub fn connect_as(target: &str, identity: &IdentityConfig) -> Result<Direct, ConnectError> {
    let target: Target = target.parse()?;
    let identity = Identity::open(identity, &target).map_err(ConnectError::Identity)?;
    let config = ChannelConfig { identity, ..ChannelConfig::default() };
    Ok(Direct(Channel::new("server", target, config, Balancing::default())))
}

impl Direct {
    /// The same over a channel that is shared with others.
    pub fn over(channel: Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Direct {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let channel = self.0.clone();
        Box::pin(async move {
            let deadline = Instant::now() + channel.config().connect_timeout + GRACE;
            let reserved = channel.reserve(deadline, false).await.map_err(|unsent| as_status(&unsent.failure))?;
            let Reserved { requests, slot } = reserved;
            let endpoint = Arc::clone(slot.endpoint());
            send(requests, &endpoint, Some(slot), request).await
        })
    }
}

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

fn as_status(failure: &Failure) -> Status {
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
