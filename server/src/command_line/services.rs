//! `orchestrator services`: the services that are called, and how they are doing.

use crate::proto::orchestrator::admin::v1::{Endpoint, MethodPolicy, RetryPolicy, Service};
use crate::proto::orchestrator::admin::v1::{GetServiceRequest, ListServicesRequest, ListServicesResponse};
use clap::{Args, Subcommand};

use super::connection::{Output, Server};
use super::exit::CommandError;
use super::pages::{PAGE_SIZE, all_pages};
use super::table::{error, facts, span, table, time};
use super::{Exit, Terminal, json};

#[derive(Debug, Subcommand)]
pub(super) enum Services {
    /// List the services: whether they are up, how many calls and runs wait for them, and their last error.
    List(List),
    /// Show one service, with the policy of each of its methods.
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Name of the service, as in the configuration.
    name: String,
    #[command(flatten)]
    server: Server,
}

impl Services {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::List(list) => list.run(terminal).await?,
            Self::Show(show) => show.run(terminal).await?,
        }
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let mut client = self.server.services()?;
        let mut all = ListServicesResponse::default();
        all_pages(async |page_token| {
            let request = ListServicesRequest { page_size: PAGE_SIZE, page_token };
            let page = client.list_services(request).await?.into_inner();
            all.services.extend(page.services);
            Ok(page.next_page_token)
        })
        .await?;
        if self.server.output == Output::Json {
            return terminal.line(&json::pretty(&all)?);
        }
        let rows = all.services.iter().map(|service| {
            [
                service.service.clone(),
                service.address.clone(),
                service.breaker_state().as_str_name().to_owned(),
                service.connection_state().as_str_name().to_owned(),
                service.in_flight.to_string(),
                service.waiting_calls.to_string(),
                waiting_runs(service).to_string(),
                format!("{:.1}", service.attempts_per_second),
                last_error(service),
            ]
        });
        let header = [
            "service",
            "address",
            "breaker",
            "connection",
            "in flight",
            "waiting",
            "runs waiting",
            "attempts/s",
            "last error",
        ];
        terminal.line(&table(header, rows))
    }
}

impl Show {
    async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let request = GetServiceRequest { service: self.name };
        let service = self.server.services()?.get_service(request).await?.into_inner();
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&service)?),
            Output::Table => {
                terminal.line(&facts_of(&service))?;
                if !service.endpoints.is_empty() {
                    terminal.line(&format!("\n{}", endpoints_of(&service.endpoints)))?;
                }
                terminal.line(&format!("\n{}", methods_of(&service.methods)))
            }
        }
    }
}

fn facts_of(service: &Service) -> String {
    let connection = service.connection_state().as_str_name();
    let down = service.down_time.as_ref().map(|since| format!(", down since {}", time(Some(since))));
    let rate = match service.max_calls_per_second {
        0.0 => String::from("not limited"),
        most => format!("at most {most:.1} a second, {} at the same time", service.burst),
    };
    let tokens = service.retry_tokens.zip(service.max_retry_tokens);
    facts(&[
        ("Service", service.service.clone()),
        ("Packages", service.packages.join(", ")),
        ("Address", service.address.clone()),
        ("Connection", with(connection, &service.connection_error)),
        ("Identity", service.identity_error.clone()),
        ("Balancing", service.load_balancing.clone()),
        ("Breaker", format!("{}{}", service.breaker_state().as_str_name(), down.unwrap_or_default())),
        ("In flight", format!("{} of {}", service.in_flight, service.max_in_flight)),
        ("Rate", rate),
        ("Waiting", format!("{} calls of {} runs", service.waiting_calls, service.waiting_runs)),
        ("Away", if service.away_runs > 0 { format!("{} runs", service.away_runs) } else { String::new() }),
        ("Attempts", format!("{:.1} a second, {:.1} failed", service.attempts_per_second, service.failures_per_second)),
        ("Last error", last_error(service)),
        ("Retries", tokens.map(|(left, all)| format!("{left:.1} of {all:.1} tokens left")).unwrap_or_default()),
    ])
}

fn endpoints_of(endpoints: &[Endpoint]) -> String {
    let rows = endpoints.iter().map(|endpoint| {
        [
            endpoint.address.clone(),
            endpoint.connection_state().as_str_name().to_owned(),
            endpoint.in_flight.to_string(),
            endpoint.connection_error.clone(),
        ]
    });
    table(["endpoint", "connection", "in flight", "error"], rows)
}

fn methods_of(methods: &[MethodPolicy]) -> String {
    let rows = methods.iter().map(|method| {
        let longest = span(method.max_timeout);
        [
            method.method.clone(),
            level(method),
            method.repeats().as_str_name().to_owned(),
            if longest.is_empty() {
                span(method.timeout)
            } else {
                format!("{} (at most {longest})", span(method.timeout))
            },
            if method.wait_for_ready { String::from("yes") } else { String::new() },
            method.max_request_bytes.to_string(),
            method.max_response_bytes.to_string(),
            method.retry_policy.as_ref().map(retry).unwrap_or_default(),
        ]
    });
    let header = ["method", "level", "repeats", "timeout", "waits", "request bytes", "response bytes", "retry"];
    table(header, rows)
}

fn level(method: &MethodPolicy) -> String {
    let horizon = method.dedupe_horizon.map(|horizon| format!(" {}", span(Some(horizon)))).unwrap_or_default();
    let configured = if method.level_configured { " (configured)" } else { "" };
    format!("{}{horizon}{configured}", method.level)
}

fn retry(policy: &RetryPolicy) -> String {
    format!(
        "{} attempts, {} to {}, {}",
        policy.max_attempts,
        span(policy.initial_backoff),
        span(policy.max_backoff),
        policy.retryable_status_codes.join(" ")
    )
}

fn waiting_runs(service: &Service) -> i32 {
    service.waiting_runs.saturating_add(service.away_runs)
}

fn last_error(service: &Service) -> String {
    let error = service.last_error.as_ref().map(error).unwrap_or_default();
    with(&time(service.last_error_time.as_ref()), &error)
}

fn with(text: &str, more: &str) -> String {
    if more.is_empty() { text.to_owned() } else { format!("{text} {more}") }
}
