//! How the command line proves to an orchestrator who it is.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use transport::channel::{IdentityConfig, IdentityMistake, Secret, TlsConfig, TokenSource};

use super::exit::CommandError;

const TOKEN: &str = "ORCHESTRATOR_TOKEN";

/// Who we are to the orchestrator.
#[derive(Clone, Debug, Args)]
pub(super) struct Login {
    /// File with the bearer token that goes with every call. The token itself can be in `ORCHESTRATOR_TOKEN`.
    #[arg(long, value_name = "FILE", env = "ORCHESTRATOR_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File with the roots that the certificate of the orchestrator must lead to (PEM). Default: those of the system.
    #[arg(long, value_name = "FILE", env = "ORCHESTRATOR_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// File with your certificate (PEM).
    #[arg(long, value_name = "FILE", env = "ORCHESTRATOR_CERTIFICATE_FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// File with the private key of your certificate (PEM).
    #[arg(long, value_name = "FILE", env = "ORCHESTRATOR_KEY_FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
}

impl Login {
    /// What is sent to this address. A token leaves this machine only over TLS.
    pub(super) fn identity(&self, address: &str) -> IdentityConfig {
        let token = match &self.token_file {
            Some(file) => Some(TokenSource::File(file.clone())),
            // Not an argument: others see those.
            None => std::env::var(TOKEN)
                .ok()
                .filter(|token| !token.trim().is_empty())
                .map(|token| TokenSource::Inline(Secret::new(token.trim()))),
        };
        let Self { ca_file, certificate_file, key_file, .. } = self.clone();
        // Where the address says that there is no TLS, what these are for has no use.
        let encrypts = address.starts_with("https://");
        let tls = encrypts.then_some(TlsConfig { ca_file, certificate_file, key_file, server_name: None });
        IdentityConfig { tls, token, allow_insecure_token: is_local(address) }
    }
}

/// What is wrong with it, by the names of the flags.
pub(super) fn refused(mistakes: &[IdentityMistake]) -> CommandError {
    let told = mistakes.iter().map(|IdentityMistake { key, message }| match *key {
        "token" => format!("{TOKEN}: {message}"),
        "token_file" => format!("--token-file: {message}"),
        "tls.ca_file" => format!("--ca-file: {message}"),
        "tls.certificate_file" => format!("--certificate-file: {message}"),
        "tls.key_file" => format!("--key-file: {message}"),
        key => format!("--server: {key}: {message}"),
    });
    let told: Vec<String> = told.map(|told| told.replace(", or allow_insecure_token = true", "")).collect();
    CommandError::usage(told.join("; "))
}

/// Whether nothing leaves this machine on the way to the address.
fn is_local(address: &str) -> bool {
    if address.starts_with("unix:") {
        return true;
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_sockets_of_this_machine_are_local() {
        for local in ["http://127.0.0.1:50052", "http://[::1]:1", "http://localhost:1", "unix:/run/a", "unix:a"] {
            assert!(is_local(local), "{local}");
        }
        for remote in
            ["http://10.0.0.1:1", "https://a.example:1", "dns:///localhost.example:1", "http://127.0.0.1.example:1"]
        {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
