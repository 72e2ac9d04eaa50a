//! The connection to a running orchestrator.

use std::borrow::Cow;

use crate::proto::orchestrator::admin::v1::audit_service_client::AuditServiceClient;
use crate::proto::orchestrator::admin::v1::bulk_service_client::BulkServiceClient;
use crate::proto::orchestrator::admin::v1::replica_service_client::ReplicaServiceClient;
use crate::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use crate::proto::orchestrator::admin::v1::schedule_service_client::ScheduleServiceClient;
use crate::proto::orchestrator::admin::v1::service_service_client::ServiceServiceClient;
use crate::proto::orchestrator::admin::v1::workflow_service_client::WorkflowServiceClient;
use clap::{Args, ValueEnum};
use transport::channel::{self, ConnectError, Direct};

use tonic::service::interceptor::InterceptedService;

use super::caller::Named;
use super::exit::CommandError;
use super::login::{self, Login};

/// The largest answer that is taken; the server keeps its own well below.
const MAX_ANSWER: usize = 64 << 20;

pub(super) type Connection = InterceptedService<Direct, Named>;

/// Which orchestrator to ask, and how to show its response.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// Address of the admin API; without a scheme, `http://` is assumed.
    #[arg(long, value_name = "URL", env = "ORCHESTRATOR_SERVER", default_value = "http://127.0.0.1:50052")]
    server: String,
    /// Your name for the audit trail. Default: `user@host`.
    #[arg(long, value_name = "NAME", env = "ORCHESTRATOR_CALLER")]
    caller: Option<String>,
    #[command(flatten)]
    login: Login,
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

    pub(super) fn replicas(&self) -> Result<ReplicaServiceClient<Connection>, CommandError> {
        Ok(ReplicaServiceClient::new(self.connect()?).max_decoding_message_size(MAX_ANSWER))
    }

    /// Connects with the first call.
    fn connect(&self) -> Result<Connection, CommandError> {
        let address = with_scheme(&self.server);
        let identity = self.login.identity(&address);
        let channel = channel::connect_as(&address, &identity);
        let channel = channel.map_err(|error| match error {
            ConnectError::Target(error) => CommandError::usage(format!("--server: {error}")),
            ConnectError::Identity(mistakes) => login::refused(&mistakes),
        })?;
        Ok(InterceptedService::new(channel, Named::new(self.caller.as_deref())?))
    }
}

/// The address as the channel reads it: `host:port` begins with no scheme, and means `http://host:port`.
fn with_scheme(address: &str) -> Cow<'_, str> {
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>().is_ok());
    let plain =
        port == Some(true) && !address.contains('/') && !address.starts_with("ipv") && !address.starts_with("dns:");
    if plain { Cow::Owned(format!("http://{address}")) } else { Cow::Borrowed(address) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_one_of_http() {
        assert_eq!(with_scheme("127.0.0.1:50052"), "http://127.0.0.1:50052");
        assert_eq!(with_scheme("[::1]:50052"), "http://[::1]:50052");
        assert_eq!(with_scheme("localhost:1"), "http://localhost:1");
        for given in
            ["http://a:1", "https://a:1", "dns:///a:1", "dns:a:1", "ipv4:1.2.3.4:5", "ipv6:[::1]:5", "unix:/a:1", "a"]
        {
            assert_eq!(with_scheme(given), given);
        }
    }
}
