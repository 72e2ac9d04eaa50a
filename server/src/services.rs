//! The services we call, as the contracts name them and the configuration addresses them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine::rpc::Method;
use transport::channel::{ChannelConfig, Resolution};
use transport::policy::{PolicyMistake, ServicePolicy};
use transport::{ServiceConfig, Services, ServicesError};

use crate::configuration::Service;
use crate::installed;

pub(crate) mod identity;
mod keys;
mod levels;

pub(crate) use keys::{KeyTaken, Keys};
pub(crate) use levels::{LevelMistake, Levels};

/// The key of the service in the configuration.
pub(crate) fn key(service: &str) -> Option<&'static str> {
    installed::keys()?.of_service(service)
}

/// The methods of the services with this key.
pub(crate) fn methods_of(wanted: &str) -> impl Iterator<Item = &'static Method> {
    installed::methods().map(|entry| entry.method).filter(move |method| key(method.service) == Some(wanted))
}

/// The keys of all services that the contracts know.
pub(crate) fn keys() -> BTreeSet<&'static str> {
    installed::keys().map(Keys::all).unwrap_or_default()
}

/// Why no service has this key, for who wrote it.
pub(crate) fn no_such_key(key: &str) -> String {
    let listed =
        |keys: &mut dyn Iterator<Item = &str>| keys.map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
    match installed::keys().and_then(|keys| keys.sharing(key)) {
        Some(full) => {
            let full = listed(&mut full.iter().map(String::as_str));
            format!("several packages have services of this name; expected the full name of one of them: {full}")
        }
        None => format!("no contract has such a service; expected one of {}", listed(&mut keys().into_iter())),
    }
}

/// The full names of the services with this key.
pub(crate) fn services_of(key: &str) -> BTreeSet<&'static str> {
    methods_of(key).map(|method| method.service).collect()
}

/// What is wrong with the services as they are configured.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    Services(#[from] ServicesError),
    /// The configuration was without mistakes when it was loaded; a file may have changed since.
    #[error("services.{key}.{}", tell(mistakes))]
    Policy { key: String, mistakes: Vec<PolicyMistake> },
}

fn tell(mistakes: &[PolicyMistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The policy of a service, with the key of the configuration in the paths of all its mistakes.
pub(crate) fn policy(service: &Service) -> Result<ServicePolicy, Vec<PolicyMistake>> {
    let mistake = |path: &str, message: String| vec![PolicyMistake { path: path.to_owned(), message }];
    let under = |key: &'static str| {
        move |mistakes: Vec<PolicyMistake>| {
            let path = |path: &str| if path.is_empty() { key.to_owned() } else { format!("{key}.{path}") };
            mistakes.into_iter().map(|mistake| PolicyMistake { path: path(&mistake.path), ..mistake }).collect()
        }
    };
    let Service { service_config: inline, service_config_file: file, .. } = service;
    match (inline.is_empty(), file == Path::new("")) {
        (true, true) => Ok(ServicePolicy::default()),
        (false, true) => ServicePolicy::parse(inline).map_err(under("service_config")),
        (true, false) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| mistake("service_config_file", format!("{}: {error}", file.display())))?;
            ServicePolicy::parse(&text).map_err(under("service_config_file"))
        }
        (false, false) => {
            let message = "there is a service_config already; expected one of them";
            Err(mistake("service_config_file", String::from(message)))
        }
    }
}

/// The transport to the configured services; none of them is connected yet. Those without an address are left out.
pub(crate) fn transport(configured: &BTreeMap<String, Service>) -> Result<Services, TransportError> {
    let mut configs = Vec::new();
    for (key, service) in configured.iter().filter(|(_, service)| !service.address.is_empty()) {
        let policy = policy(service).map_err(|mistakes| TransportError::Policy { key: key.clone(), mistakes })?;
        // What has no package is named itself.
        let package = |service: &'static str| service.rsplit_once('.').map_or(service, |(package, _)| package);
        let packages: BTreeSet<&str> = methods_of(key).map(|method| package(method.service)).collect();
        configs.push(ServiceConfig {
            name: key.to_owned(),
            prefixes: packages.into_iter().map(str::to_owned).collect(),
            address: service.address.clone(),
            identity: identity::of(service),
            channel: ChannelConfig {
                max_in_flight: service.max_in_flight as usize,
                resolution: Resolution { interval: service.resolve_interval, ..Resolution::default() },
                connect_timeout: service.connect_timeout,
                max_stream_messages: service.max_stream_messages as usize,
                attempt_header: service.attempt_header,
                ..ChannelConfig::default()
            },
            policy,
            levels: Levels::of(key, service).in_force,
            call_timeout: service.call_timeout,
            rate: service.rate.limit(),
            breaker: (&service.breaker).into(),
        });
    }
    Ok(Services::new(&installed::contracts(), configs)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_with_an_address_is_reached_and_the_others_are_left_out() {
        let at = |address: &str| Service { address: address.to_owned(), ..Service::default() };
        let configured = [(String::from("users"), at("http://127.0.0.1:1")), (String::from("ai"), at(""))];
        let transport = transport(&configured.into()).unwrap();
        let policy = transport.policy("/acme.users.v1.UserService/GetUser").unwrap();
        assert_eq!(policy.timeout, Service::default().call_timeout);
        assert!(transport.policy("/acme.ai.v1.AiService/WriteText").is_none());
    }
}
