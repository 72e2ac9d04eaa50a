//! TLS of a listener: who we are to those who connect, and who they are by their certificates. Files are followed as those of
//! a channel are; a connection keeps what it began with.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::files::{Contents, FileMistake, Refreshed, Reloaded, Source};
use super::identity::certificates;

const H2: &[u8] = b"h2";

/// How long it holds what was found of a certificate: a look at signatures takes as long as many calls.
const HOLDS: Duration = Duration::from_secs(1);

const CERTIFICATE_FILE: &str = "certificate_file";
const KEY_FILE: &str = "key_file";
const CLIENT_CA_FILE: &str = "client_ca_file";

/// How a listener is encrypted.
#[derive(Clone, Debug, Default)]
pub struct ServedTlsConfig {
    /// PEM with the certificate of the listener, followed by those between it and its root.
    pub certificate_file: PathBuf,
    /// PEM with its private key.
    pub key_file: PathBuf,
    /// PEM with the roots of the certificates that callers may show; none: they are not asked for one.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS as it is in force.
pub struct ServedTls(Arc<Reloaded<InForce>>);

struct InForce {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificate that a caller showed, and that was verified.
pub struct ClientCertificate {
    tls: Arc<Reloaded<InForce>>,
    chain: Vec<CertificateDer<'static>>,
    names: Vec<String>,
    /// When it was looked at last, and what was found.
    looked: Mutex<Option<(Instant, bool)>>,
}

impl ServedTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// One is of no use.
    pub fn open(config: &ServedTlsConfig) -> Result<Self, FileMistake> {
        let ServedTlsConfig { certificate_file, key_file, client_ca_file } = config;
        let sources = [
            (CERTIFICATE_FILE, Some(certificate_file)),
            (KEY_FILE, Some(key_file)),
            (CLIENT_CA_FILE, client_ca_file.as_ref()),
        ];
        let sources = sources.into_iter().filter_map(|(key, path)| Some(Source { key, path: path?.clone() })).collect();
        Ok(Self(Arc::new(Reloaded::open(sources, in_force)?)))
    }

    /// Looks at every file again. Blocks.
    pub fn refresh(&self) -> Refreshed {
        self.0.refresh()
    }

    /// Makes the handshake over the stream; says which certificate the caller showed.
    ///
    /// # Errors
    /// The caller does not agree, or shows a certificate that is not accepted.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Option<ClientCertificate>)> {
        let stream = TlsAcceptor::from(Arc::clone(&self.0.current().config)).accept(stream).await?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(H2) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP/2 in ALPN"));
        }
        let chain = session.peer_certificates().map(<[_]>::to_vec);
        let shown = chain.filter(|chain| !chain.is_empty()).map(|chain| ClientCertificate {
            tls: Arc::clone(&self.0),
            names: names(&chain),
            looked: Mutex::default(),
            chain: chain.into_iter().map(CertificateDer::into_owned).collect(),
        });
        Ok((stream, shown))
    }
}

impl ClientCertificate {
    /// The names that it is for: DNS names, and URIs as SPIFFE has them.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is in force still, by the clock and by the roots that are in force now.
    pub fn is_in_force(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        match *looked {
            Some((at, found)) if at.elapsed() < HOLDS => found,
            _ => {
                let found = self.verify();
                *looked = Some((Instant::now(), found));
                found
            }
        }
    }

    fn verify(&self) -> bool {
        let tls = self.tls.current();
        let (Some(clients), [own, between @ ..]) = (&tls.clients, self.chain.as_slice()) else { return false };
        clients.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }
}

fn names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let Some(Ok(certificate)) = chain.first().map(EndEntityCert::try_from) else { return Vec::new() };
    certificate.valid_dns_names().chain(certificate.valid_uri_names()).map(str::to_owned).collect()
}

fn in_force(contents: &Contents<'_>) -> Result<InForce, FileMistake> {
    let missing = |key| FileMistake { key, message: String::from("was not read") };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificate = contents.get(CERTIFICATE_FILE).ok_or_else(|| missing(CERTIFICATE_FILE))?;
    let key = contents.get(KEY_FILE).ok_or_else(|| missing(KEY_FILE))?;
    let chain = certificates(certificate.bytes).map_err(|reason| certificate.mistake(reason))?;
    let private = PrivateKeyDer::from_pem_slice(key.bytes).map_err(|_| key.mistake("holds no private key in PEM"))?;
    let clients = match contents.get(CLIENT_CA_FILE) {
        None => None,
        Some(content) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(content.bytes).map_err(|reason| content.mistake(reason))? {
                roots.add(root).map_err(|error| content.mistake(error))?;
            }
            // Callers without one may prove who they are with a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build();
            Some(verifier.map_err(|error| content.mistake(error))?)
        }
    };
    // TLS 1.2 and 1.3, with the cipher suites that rustls has, all of them with forward secrecy.
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| certificate.mistake(error))?;
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
        None => builder.with_no_client_auth(),
    };
    // A key that is not the certificate's shows here.
    let mut config = builder.with_single_cert(chain, private).map_err(|error| key.mistake(error))?;
    config.alpn_protocols = vec![H2.to_vec()];
    // Without it, a session that is resumed would bring back a certificate that is not in force any more.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(InForce { config: Arc::new(config), clients })
}
