//! Who we are to a service and how we know it, from its configuration.

use std::path::{Path, PathBuf};

use transport::channel::{Identity, IdentityConfig, IdentityMistake, Target, TlsConfig, TokenSource};

use crate::configuration::{Service, Tls};

/// What is configured for the service.
pub(crate) fn of(service: &Service) -> IdentityConfig {
    let Service { tls, token, token_file, allow_insecure_token, .. } = service;
    let token = match (token.reveal().is_empty(), named(token_file)) {
        (false, _) => Some(TokenSource::Inline(token.clone())),
        (true, file) => file.map(TokenSource::File),
    };
    let Tls { ca_file, certificate_file, key_file, server_name, .. } = tls;
    let tls = (*tls != Tls::default()).then(|| TlsConfig {
        ca_file: named(ca_file),
        certificate_file: named(certificate_file),
        key_file: named(key_file),
        server_name: Some(server_name.clone()).filter(|name| !name.is_empty()),
    });
    IdentityConfig { tls, token, allow_insecure_token: *allow_insecure_token }
}

/// What is wrong with it, by the keys of the service.
pub(crate) fn mistakes(service: &Service, target: &Target) -> Vec<IdentityMistake> {
    let mistake = |key, message: &str| IdentityMistake { key, message: message.to_owned() };
    let mut mistakes = Vec::new();
    if !service.token.reveal().is_empty() && named(&service.token_file).is_some() {
        mistakes.push(mistake("token_file", "there is a token already; expected one of them"));
    }
    let plain = service.address.starts_with("http://");
    if plain && service.tls != Tls::default() {
        mistakes.push(mistake("tls", "the address says that there is no TLS; expected https:// there"));
        return mistakes;
    }
    if !service.tls.enabled && service.tls != Tls::default() && !service.address.starts_with("https://") {
        mistakes.push(mistake("tls", "has no effect; expected tls.enabled = true, or an address with https://"));
    }
    mistakes.extend(Identity::open(&of(service), target).err().into_iter().flatten());
    mistakes
}

fn named(path: &Path) -> Option<PathBuf> {
    (path != Path::new("")).then(|| path.to_owned())
}
