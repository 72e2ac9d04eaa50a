//! What the configuration of a service comes to: its policy, the levels of its methods, and its identity.

use std::path::Path;

use transport::policy::{PolicyMistake, ServicePolicy};

use super::Service;

pub(crate) mod identity;
mod levels;

pub(crate) use levels::{LevelMistake, Levels};

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
