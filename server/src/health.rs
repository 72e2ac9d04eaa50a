//! `grpc.health.v1.Health` as its specification says, and the one place that decides what it answers.
//!
//! Not tonic-health's own service: that one ends a Watch of an unknown name, and cannot end streams on a drain.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What is known of this process. Everything that a probe sees follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    store_reachable: bool,
    engine_running: bool,
    draining: bool,
    live: bool,
    /// The services that we call, by name. They are shown, and have no part in readiness: a run waits for its service.
    services: BTreeMap<String, ServingStatus>,
}

/// Bytes of a request: the name of a service.
const LONGEST_REQUEST: usize = 4 << 10;

/// What stands before the name of a service that we call.
const SERVICE: &str = "service/";

impl Condition {
    /// The answer for a name; none for a name that is not ours.
    fn status(&self, name: &str) -> Option<ServingStatus> {
        let serving = match name {
            "" | "readiness" => self.store_reachable && self.engine_running && !self.draining,
            "liveness" => self.live,
            _ => return self.services.get(name.strip_prefix(SERVICE)?).copied(),
        };
        Some(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

/// Says what changed; the only way to change what probes see.
#[derive(Debug)]
pub struct Reporter {
    condition: watch::Sender<Condition>,
}

impl Default for Reporter {
    /// Live and not ready: a process that only starts.
    fn default() -> Self {
        let services = BTreeMap::new();
        let starting =
            Condition { store_reachable: false, engine_running: false, draining: false, live: true, services };
        Self { condition: watch::Sender::new(starting) }
    }
}

impl Reporter {
    pub fn set_store_reachable(&self, reachable: bool) {
        self.set(|condition| condition.store_reachable = reachable);
    }

    pub fn set_engine_running(&self) {
        self.set(|condition| condition.engine_running = true);
    }

    /// From here on the process is not ready, whatever else is reported.
    pub fn set_draining(&self) {
        self.set(|condition| condition.draining = true);
    }

    pub fn set_live(&self, live: bool) {
        self.set(|condition| condition.live = live);
    }

    /// The services that we call, all of them.
    pub fn set_services(&self, services: impl Iterator<Item = (ServingStatus, String)>) {
        let services = services.map(|(status, name)| (name, status)).collect();
        self.set(|condition| condition.services = services);
    }

    fn set(&self, change: impl FnOnce(&mut Condition)) {
        self.condition.send_if_modified(|condition| {
            let before = condition.clone();
            change(condition);
            *condition != before
        });
    }

    /// The service that answers from this; its streams end when `closing` is cancelled.
    pub fn service(self: &Arc<Self>, closing: CancellationToken) -> HealthServer<impl Health> {
        HealthServer::new(Probes { reporter: self.clone(), closing }).max_decoding_message_size(LONGEST_REQUEST)
    }
}

struct Probes {
    reporter: Arc<Reporter>,
    closing: CancellationToken,
}

type Watched = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Probes {
    type WatchStream = Watched;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        let status = self.reporter.condition.borrow().status(&name);
        status
            .map(|status| Response::new(answer(status)))
            .ok_or_else(|| Status::not_found("unknown service; known are \"\", readiness, liveness and service/NAME"))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watched>, Status> {
        let name = request.into_inner().service;
        let mut condition = self.reporter.condition.subscribe();
        condition.mark_changed();
        let closing = self.closing.clone();
        Ok(Response::new(Box::pin(unfold((condition, None), move |(mut condition, last)| {
            let (name, closing) = (name.clone(), closing.clone());
            async move {
                loop {
                    closing.run_until_cancelled(condition.changed()).await?.ok()?;
                    let status = condition.borrow_and_update().status(&name);
                    let status = status.unwrap_or(ServingStatus::ServiceUnknown);
                    if last != Some(status) {
                        return Some((Ok(answer(status)), (condition, Some(status))));
                    }
                }
            }
        }))))
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tonic::Code;

    use super::*;

    fn request(name: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: name.to_owned() })
    }

    fn probes() -> (Arc<Reporter>, Probes) {
        let reporter = Arc::new(Reporter::default());
        (reporter.clone(), Probes { reporter, closing: CancellationToken::new() })
    }

    async fn checked(probes: &Probes, name: &str) -> ServingStatus {
        probes.check(request(name)).await.unwrap().into_inner().status()
    }

    async fn next(stream: &mut Watched) -> ServingStatus {
        stream.next().await.unwrap().unwrap().status()
    }

    #[tokio::test]
    async fn ready_means_that_the_store_answers_and_the_engine_runs_and_nothing_drains() {
        let (reporter, probes) = probes();
        for name in ["", "readiness"] {
            assert_eq!(checked(&probes, name).await, ServingStatus::NotServing);
        }
        assert_eq!(checked(&probes, "liveness").await, ServingStatus::Serving);
        reporter.set_engine_running();
        assert_eq!(checked(&probes, "readiness").await, ServingStatus::NotServing);
        reporter.set_store_reachable(true);
        for name in ["", "readiness"] {
            assert_eq!(checked(&probes, name).await, ServingStatus::Serving);
        }
        reporter.set_draining();
        reporter.set_store_reachable(true);
        assert_eq!(checked(&probes, "readiness").await, ServingStatus::NotServing);
        assert_eq!(checked(&probes, "liveness").await, ServingStatus::Serving);
        reporter.set_live(false);
        assert_eq!(checked(&probes, "liveness").await, ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn check_of_an_unknown_name_is_not_found() {
        let (_, probes) = probes();
        assert_eq!(probes.check(request("users")).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_of_an_unknown_name_says_so_and_stays_open() {
        let (reporter, probes) = probes();
        let mut stream = probes.watch(request("users")).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await, ServingStatus::ServiceUnknown);
        reporter.set_draining();
        let more = tokio::time::timeout(std::time::Duration::from_secs(60), stream.next()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test]
    async fn a_service_that_is_down_is_told_and_makes_nobody_unready() {
        let (reporter, probes) = probes();
        reporter.set_engine_running();
        reporter.set_store_reachable(true);
        let mut stream = probes.watch(request("service/users")).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await, ServingStatus::ServiceUnknown);
        for status in [ServingStatus::Unknown, ServingStatus::NotServing, ServingStatus::Serving] {
            reporter.set_services([(status, String::from("users"))].into_iter());
            assert_eq!(next(&mut stream).await, status);
            assert_eq!(checked(&probes, "service/users").await, status);
            assert_eq!(checked(&probes, "readiness").await, ServingStatus::Serving);
        }
        assert_eq!(probes.check(request("service/ai")).await.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn watch_tells_the_status_at_once_then_each_change_once() {
        let (reporter, probes) = probes();
        let mut stream = probes.watch(request("readiness")).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await, ServingStatus::NotServing);
        reporter.set_engine_running();
        reporter.set_live(false);
        reporter.set_store_reachable(true);
        assert_eq!(next(&mut stream).await, ServingStatus::Serving);
        reporter.set_draining();
        assert_eq!(next(&mut stream).await, ServingStatus::NotServing);
    }

    #[tokio::test]
    async fn streams_end_when_the_listener_closes() {
        let (_, probes) = probes();
        let mut stream = probes.watch(request("")).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await, ServingStatus::NotServing);
        probes.closing.cancel();
        assert!(stream.next().await.is_none());
    }
}
