//! A channel for programs of ours that call services by themselves, as the command line does: any generated client stands
//! on it, unary or with a stream of responses.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::ChannelConfig;
use super::balancing::Balancing;
use super::identity::{Identity, IdentityConfig, IdentityMistake};
use super::reserve::Channel;
use super::reserved::Reserved;
use super::target::{Target, TargetError};
use super::whole_exchange::{as_status, send};

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
