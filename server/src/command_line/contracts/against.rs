//! Whether a server has the contracts that we were built with.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::ServiceDescriptor;
use transport::channel::{Direct, connect, connect_as};

use super::super::connection::Output;
use super::super::exit::CommandError;
use super::super::{Exit, Terminal};
use crate::configuration::{Service, service as of_service};
use crate::contracts::{Finding, Reflection, ReflectionError, Severity, compare};
use crate::{descriptors, installed};

pub(super) async fn check(
    configured: &BTreeMap<String, Service>,
    server: &str,
    output: Output,
    terminal: &mut Terminal<'_>,
) -> Result<Exit, CommandError> {
    let named = installed::known_keys().contains(server);
    let channel = channel(configured, server, named)?;
    let reflection = Reflection::of(channel).await.map_err(failed)?;
    let ours = if named { installed::services_of(server) } else { shared(&reflection) };
    if ours.is_empty() {
        let there: Vec<&str> = reflection.services.iter().map(String::as_str).collect();
        let message = format!("the server has none of the services that we call; it has {}", there.join(", "));
        return Err(CommandError::failed(message));
    }
    let ours: Vec<ServiceDescriptor> = ours.into_iter().filter_map(descriptors::service).collect();
    let names: Vec<&str> = ours.iter().map(ServiceDescriptor::full_name).collect();
    let theirs = reflection.contracts(&names).await.map_err(failed)?;
    let mut findings = compare(&ours, &theirs);
    findings.sort_by(|a, b| (a.severity, &a.name).cmp(&(b.severity, &b.name)));

    match output {
        Output::Json => terminal.line(&super::json(&findings)?)?,
        Output::Table => {
            for Finding { severity, name, message } in &findings {
                let severity = match severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                };
                terminal.row(&format!("{severity}: {name}: {message}"))?;
            }
        }
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    terminal.talk(&format!("compared {}: {errors} errors, {warnings} warnings", names.join(", ")));
    Ok(if errors == 0 { Exit::Ok } else { Exit::Findings })
}

fn channel(configured: &BTreeMap<String, Service>, server: &str, named: bool) -> Result<Direct, CommandError> {
    let refused = |error: String| CommandError::usage(format!("--against: {error}"));
    if !named {
        return connect(server).map_err(|error| refused(error.to_string()));
    }
    match configured.get(server).filter(|service| !service.address.is_empty()) {
        Some(service) => {
            let identity = of_service::identity::of(service);
            connect_as(&service.address, &identity).map_err(|error| refused(error.to_string()))
        }
        None => Err(refused(format!("services.{server}.address is not configured"))),
    }
}

/// The services that we call of every package that the server has one of: it may have others that are not ours to judge.
fn shared(reflection: &Reflection) -> BTreeSet<&'static str> {
    let package = |service: &str| service.rsplit_once('.').map(|(package, _)| package.to_owned());
    let there: Vec<Option<String>> = reflection.services.iter().map(|service| package(service)).collect();
    let called = installed::known_keys().into_iter().flat_map(installed::services_of);
    called.filter(|service| there.contains(&package(service))).collect()
}

fn failed(error: ReflectionError) -> CommandError {
    match error {
        ReflectionError::Status(status) => CommandError::from(*status),
        error => CommandError::failed(error.to_string()),
    }
}
