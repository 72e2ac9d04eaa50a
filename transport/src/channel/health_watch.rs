//! Asks a peer how a service on it is doing, over a connection that is there (gRFC A17).

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::Service;

use super::back_off::BackOff;
use super::endpoint::Endpoint;
use super::frame::Frame;
use super::{ChannelConfig, whole_exchange};

/// What is known of the health of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// The peer is asked and has not answered.
    Asked,
    Serving,
    /// It is not, and why.
    NotServing(String),
}

/// Reports every change. Returns only where there is nothing to ask, because the peer does not know such questions; then
/// it counts as healthy.
pub(crate) async fn follow(
    requests: &SendRequest<Frame>,
    endpoint: &Arc<Endpoint>,
    service: &str,
    config: &ChannelConfig,
    report: impl Fn(Health),
) {
    let mut back_off = BackOff::of(config);
    loop {
        report(Health::Asked);
        let mut heard = false;
        let over = Over { requests: requests.clone(), endpoint: Arc::clone(endpoint) };
        let ended = watch(over, service, config, |health| {
            heard = true;
            report(health);
        });
        let status = ended.await;
        if status.code() == Code::Unimplemented {
            let (service, address) = (endpoint.service(), endpoint.peer());
            tracing::warn!(service, %address, "the peer has no health service and counts as healthy");
            return report(Health::Serving);
        }
        report(Health::NotServing(format!("its health is not known: {}: {}", status.code(), status.message())));
        if heard {
            back_off.reset();
        }
        sleep(back_off.next()).await;
    }
}

/// One call, to its end.
async fn watch(over: Over, service: &str, config: &ChannelConfig, mut report: impl FnMut(Health)) -> Status {
    let mut client = HealthClient::new(over);
    let begun = timeout(config.connect_timeout, async {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut answers = client.watch(request).await?.into_inner();
        let first = answers.message().await?;
        Ok((answers, first))
    });
    let (mut answers, mut answer) = match begun.await {
        Ok(Ok(begun)) => begun,
        Ok(Err(status)) => return status,
        Err(_) => return Status::deadline_exceeded(format!("no answer within {:?}", config.connect_timeout)),
    };
    while let Some(health) = answer {
        report(match health.status() {
            ServingStatus::Serving => Health::Serving,
            other => Health::NotServing(format!("its health is {} for {service:?}", other.as_str_name())),
        });
        answer = match answers.message().await {
            Ok(next) => next,
            Err(status) => return status,
        };
    }
    Status::unavailable("the peer ended the watch")
}

/// A connection as generated clients want it. Calls over it take no permit.
struct Over {
    requests: SendRequest<Frame>,
    endpoint: Arc<Endpoint>,
}

impl Service<Request<Body>> for Over {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (requests, endpoint) = (self.requests.clone(), Arc::clone(&self.endpoint));
        Box::pin(async move { whole_exchange::send(requests, &endpoint, None, request).await })
    }
}
