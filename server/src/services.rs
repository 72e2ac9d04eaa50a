//! The services we call, as the contracts name them and the configuration addresses them.

use std::collections::{BTreeMap, BTreeSet};

use transport::channel::{ChannelConfig, Resolution};
use transport::policy::PolicyMistake;
use transport::{ServiceConfig, Services, ServicesError};

use crate::configuration::{Service, service as of_service};
use crate::installed;

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

/// The transport to the configured services; none of them is connected yet. Those without an address are left out.
pub(crate) fn transport(configured: &BTreeMap<String, Service>) -> Result<Services, TransportError> {
    let mut configs = Vec::new();
    for (key, service) in configured.iter().filter(|(_, service)| !service.address.is_empty()) {
        let policy =
            of_service::policy(service).map_err(|mistakes| TransportError::Policy { key: key.clone(), mistakes })?;
        // What has no package is named itself.
        let package = |service: &'static str| service.rsplit_once('.').map_or(service, |(package, _)| package);
        let packages: BTreeSet<&str> = installed::methods_of(key).map(|method| package(method.service)).collect();
        configs.push(ServiceConfig {
            name: key.to_owned(),
            prefixes: packages.into_iter().map(str::to_owned).collect(),
            address: service.address.clone(),
            identity: of_service::identity::of(service),
            channel: ChannelConfig {
                max_in_flight: service.max_in_flight as usize,
                resolution: Resolution { interval: service.resolve_interval, ..Resolution::default() },
                connect_timeout: service.connect_timeout,
                max_stream_messages: service.max_stream_messages as usize,
                attempt_header: service.attempt_header,
                ..ChannelConfig::default()
            },
            policy,
            levels: of_service::Levels::of(key, service).in_force,
            call_timeout: service.call_timeout,
            rate: service.rate.limit(),
            breaker: (&service.breaker).into(),
            is_limit_shared: service.strict_max_in_flight,
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
