//! TLS to a service: whom we trust, who we are, and the handshake.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::uri::Authority;
use rustls::client::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, RootCertStore};
use tokio_rustls::TlsConnector;

use super::IdentityMistake;
use super::reloaded::{Contents, Refreshed, Reloaded, Source};
use crate::channel::stream::Stream;

/// The only protocol that we speak over TLS, as ALPN names it.
const H2: &[u8] = b"h2";

pub(super) const CA_FILE: &str = "tls.ca_file";
const CERTIFICATE_FILE: &str = "tls.certificate_file";
const KEY_FILE: &str = "tls.key_file";
const SERVER_NAME: &str = "tls.server_name";

/// How a connection is encrypted, and who is at its ends.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// PEM with the roots that the certificate of the peer must lead to, and no others; none: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM with our certificate, followed by those between it and its root.
    pub certificate_file: Option<PathBuf>,
    /// PEM with its private key.
    pub key_file: Option<PathBuf>,
    /// The name or IP address that the certificate of the peer must be for; none: the host of the address. It is the
    /// authority of requests too, as in other gRPC clients.
    pub server_name: Option<String>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("no TLS: {0}")]
    Handshake(io::Error),
    #[error("it does not agree to HTTP/2 in the TLS handshake (ALPN `h2`)")]
    NoHttp2,
}

/// TLS as it is in force.
pub(super) struct Tls {
    config: Reloaded<ClientConfig>,
    name: ServerName<'static>,
    authority: Option<Authority>,
}

impl Tls {
    pub(super) fn open(config: &TlsConfig, host: &str) -> Result<Self, IdentityMistake> {
        let TlsConfig { ca_file, certificate_file, key_file, server_name } = config;
        let no_name = |_| IdentityMistake::new(SERVER_NAME, "is neither a DNS name nor an IP address");
        let name = ServerName::try_from(server_name.as_deref().unwrap_or(host).to_owned()).map_err(no_name)?;
        let authority = server_name.as_deref().map(authority_of).transpose()?;
        match (certificate_file, key_file) {
            (Some(_), None) => {
                return Err(IdentityMistake::new(KEY_FILE, "expected the private key of the certificate_file"));
            }
            (None, Some(_)) => {
                return Err(IdentityMistake::new(CERTIFICATE_FILE, "expected the certificate of the key_file"));
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
        let sources = [(CA_FILE, ca_file), (CERTIFICATE_FILE, certificate_file), (KEY_FILE, key_file)];
        let sources = sources.into_iter().filter_map(|(key, path)| Some(Source { key, path: path.clone()? })).collect();
        Ok(Self { config: Reloaded::open(sources, client_config)?, name, authority })
    }

    /// Makes the handshake over the stream.
    pub(super) async fn connect(&self, stream: Stream) -> Result<Stream, TlsError> {
        let connector = TlsConnector::from(self.config.current());
        let stream = connector.connect(self.name.clone(), stream).await.map_err(refused)?;
        // A peer that knows no ALPN would continue in HTTP/1.1, or in the first protocol that it has.
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(TlsError::NoHttp2);
        }
        Ok(Stream::Tls(Box::new(stream)))
    }

    pub(super) fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    pub(super) fn refresh(&self) -> Refreshed {
        self.config.refresh()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.config.error()
    }

    pub(super) fn reads_files(&self) -> bool {
        self.config.has_files()
    }
}

fn authority_of(name: &str) -> Result<Authority, IdentityMistake> {
    let bracketed = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    bracketed.parse().map_err(|_| IdentityMistake::new(SERVER_NAME, "is neither a DNS name nor an IP address"))
}

fn refused(error: io::Error) -> TlsError {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match alert {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => TlsError::NoHttp2,
        _ => TlsError::Handshake(error),
    }
}

pub(super) fn client_config(contents: &Contents<'_>) -> Result<ClientConfig, IdentityMistake> {
    let roots = match contents.get(CA_FILE) {
        Some(content) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(content.bytes).map_err(|reason| content.mistake(reason))? {
                roots.add(certificate).map_err(|error| content.mistake(error))?;
            }
            Arc::new(roots)
        }
        None => system_roots()?,
    };
    // TLS 1.2 and 1.3, with the cipher suites that rustls has, all of them with forward secrecy.
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| IdentityMistake::new("tls", error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (contents.get(CERTIFICATE_FILE), contents.get(KEY_FILE)) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate.bytes).map_err(|reason| certificate.mistake(reason))?;
            let private =
                PrivateKeyDer::from_pem_slice(key.bytes).map_err(|error| key.mistake(told(&error, "private key")))?;
            // A key that is not the certificate's shows here.
            builder.with_client_auth_cert(chain, private).map_err(|error| key.mistake(error))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(config)
}

pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| told(&error, "certificate"))?;
    if all.is_empty() { Err(String::from("holds no certificate in PEM")) } else { Ok(all) }
}

fn told(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => format!("holds no {what} in PEM"),
        error => format!("is no PEM: {error}"),
    }
}

/// The roots of the system, which stay those of the start of the process.
fn system_roots() -> Result<Arc<RootCertStore>, IdentityMistake> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, String>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Bundles hold some that are too old to be read.
        roots.add_parsable_certificates(found.certs);
        match (roots.is_empty(), found.errors.first()) {
            (false, _) => Ok(Arc::new(roots)),
            (true, Some(error)) => Err(format!("the roots of the system cannot be read ({error}); expected a file")),
            (true, None) => {
                Err(String::from("the system has no roots; expected a file, or SSL_CERT_FILE in the environment"))
            }
        }
    };
    ROOTS.get_or_init(read).clone().map_err(|reason| IdentityMistake::new(CA_FILE, reason))
}
