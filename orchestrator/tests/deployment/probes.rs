//! Probes as the kubelet makes them: a new connection each, an answer in time, and so many failures in a row.

use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::files::{container, number, stateful_set, string};

#[derive(Clone)]
pub(crate) struct Probe {
    service: String,
    period: Duration,
    timeout: Duration,
    failures: u64,
}

impl Probe {
    /// The probe of this name in the manifest.
    pub(crate) fn of_manifest(name: &str) -> Self {
        let base = stateful_set();
        let probe = &container(&base)[name];
        Self {
            service: string(&probe["grpc"]["service"]).to_owned(),
            period: Duration::from_secs(number(&probe["periodSeconds"])),
            timeout: Duration::from_secs(number(&probe["timeoutSeconds"])),
            failures: number(&probe["failureThreshold"]),
        }
    }

    /// The same, this many times as often.
    pub(crate) fn faster(mut self, times: u32) -> Self {
        self.period /= times;
        self
    }

    /// One look.
    pub(crate) async fn succeeds(&self, address: &str) -> bool {
        let look = async {
            let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.ok()?;
            let request = HealthCheckRequest { service: self.service.clone() };
            let answer = HealthClient::new(channel).check(request).await.ok()?;
            (answer.get_ref().status() == ServingStatus::Serving).then_some(())
        };
        tokio::time::timeout(self.timeout, look).await.is_ok_and(|answer| answer.is_some())
    }

    /// Looks until it succeeds once; says how many looks that took.
    pub(crate) async fn first_success(&self, address: &str) -> u64 {
        for look in 1..=self.failures {
            if self.succeeds(address).await {
                return look;
            }
            tokio::time::sleep(self.period).await;
        }
        panic!("the probe of {} failed {} times in a row", self.service, self.failures);
    }

    /// Looks on and on; ends only with the panic of a look that failed.
    pub(crate) async fn keep_looking(self, address: String) {
        loop {
            assert!(self.succeeds(&address).await, "the probe of {} failed", self.service);
            tokio::time::sleep(self.period).await;
        }
    }
}
