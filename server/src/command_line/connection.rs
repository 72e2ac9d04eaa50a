//! The connection to a running orchestrator.

use crate::proto::orchestrator::admin::v1::audit_service_client::AuditServiceClient;
use crate::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient;
use crate::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use crate::proto::orchestrator::admin::v1::schedule_service_client::ScheduleServiceClient;
use crate::proto::orchestrator::admin::v1::service_service_client::ServiceServiceClient;
use crate::proto::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;
use clap::{Args, ValueEnum};
use transport::channel::{self, Direct};

use tonic::service::interceptor::InterceptedService;

use super::caller::Named;
use super::exit::CommandError;

/// The largest answer that is taken; the server keeps its own well below.
const MAX_ANSWER: usize = 64 << 20;

pub(super) type Connection = InterceptedService<Direct, Named>;

/// Which orchestrator to ask, and how to show its response.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// Address of the admin API, with its scheme.
    #[arg(long, value_name = "URL", env = "ORCHESTRATOR_SERVER", default_value = "http://127.0.0.1:50052")]
    server: String,
    /// Your name for the audit trail. Default: `user@host`.
    #[arg(long, value_name = "NAME", env = "ORCHESTRATOR_CALLER")]
    caller: Option<String>,
    /// Tables for people, JSON for programs.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

impl Server {
    pub(super) fn runs(&self) -> Result<RunServiceClient<Connection>, CommandError> {
        Ok(RunServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn workflows(&self) -> Result<WorkflowServiceClient<Connection>, CommandError> {
        Ok(WorkflowServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn bulk(&self) -> Result<BulkServiceClient<Connection>, CommandError> {
        Ok(BulkServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn audit(&self) -> Result<AuditServiceClient<Connection>, CommandError> {
        Ok(AuditServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn schedules(&self) -> Result<ScheduleServiceClient<Connection>, CommandError> {
        Ok(ScheduleServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    pub(super) fn services(&self) -> Result<ServiceServiceClient<Connection>, CommandError> {
        Ok(ServiceServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    /// Connects with the first call.
    fn connect(&self) -> Result<Connection, CommandError> {
        let channel = channel::connect(&self.server);
        let channel = channel.map_err(|error| CommandError::usage(format!("--server: {error}")))?;
        Ok(InterceptedService::new(channel, Named::new(self.caller.as_deref())?))
    }
}
