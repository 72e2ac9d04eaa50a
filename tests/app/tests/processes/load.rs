//! Starts runs beside the schedule as a client does that must not lose any: with an id of its own, again until it is
//! acknowledged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use server::proto::orchestrator::admin::v1::StartRunRequest;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::USERS;

/// How long one answer may take; a frozen orchestrator gives none.
const PATIENCE: Duration = Duration::from_secs(2);

/// A start that was acknowledged.
#[derive(Clone)]
pub(crate) struct Started {
    pub(crate) request: StartRunRequest,
    pub(crate) run_id: String,
}

pub(crate) struct Load {
    started: Arc<Mutex<Vec<Started>>>,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn begin(runs: RunServiceClient<Channel>, seed: u64) -> Self {
        let started = Arc::default();
        let task = tokio::spawn(go_on(runs, StdRng::seed_from_u64(seed), Arc::clone(&started)));
        Self { started, task }
    }

    /// Starts no more; returns all starts that were acknowledged.
    pub(crate) async fn end(self) -> Vec<Started> {
        self.task.abort();
        let _ = self.task.await;
        std::mem::take(&mut self.started.lock().unwrap())
    }
}

/// The start of a run that creates its users.
pub(crate) fn invite(request: uuid::Uuid) -> StartRunRequest {
    StartRunRequest {
        workflow: "test.invite".to_owned(),
        request_id: request.to_string(),
        input_form: Some(InputForm::InputJson(format!("{{\"limit\": {USERS}}}"))),
        ..StartRunRequest::default()
    }
}

async fn go_on(mut runs: RunServiceClient<Channel>, mut dice: StdRng, started: Arc<Mutex<Vec<Started>>>) {
    loop {
        let request = invite(uuid::Builder::from_random_bytes(dice.random()).into_uuid());
        let run_id = loop {
            let asked = tokio::time::timeout(PATIENCE, runs.start_run(request.clone())).await;
            match asked {
                Ok(Ok(run)) => break run.into_inner().run_id,
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        started.lock().unwrap().push(Started { request, run_id });
        tokio::time::sleep(Duration::from_millis(dice.random_range(10..150))).await;
    }
}
