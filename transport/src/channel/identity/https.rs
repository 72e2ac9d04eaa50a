//! One small document over HTTPS, in HTTP/1.1: what an issuer publishes of its keys. Bounded in bytes and time; a redirect is not
//! followed, since it would lead to another whom nobody has named.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::IdentityMistake;
use super::reloaded::{Contents, Refreshed, Reloaded, Source};
use super::tls::{CA_FILE, client_config};

const HTTP1: &[u8] = b"http/1.1";
const DEFAULT_PORT: u16 = 443;

/// Where a document is, and whom we trust to give it.
pub struct Https {
    config: Reloaded<ClientConfig>,
    name: ServerName<'static>,
    host: String,
    port: u16,
    uri: Uri,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is")]
pub enum FetchError {
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error("no TLS: {0}")]
    Handshake(io::Error),
    #[error("no HTTP/1.1: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}; expected 200")]
    Status(StatusCode),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error("there was no answer within {0:?}")]
    Late(Duration),
}

impl Https {
    /// Reads the address, and the roots that the certificate of its host must lead to: those of the file, or of the system.
    ///
    /// # Errors
    /// One of them is of no use.
    pub fn open(url: &str, ca_file: Option<PathBuf>) -> Result<Self, IdentityMistake> {
        const EXPECTED: &str = "expected https:// and a host, without user and fragment";
        let mistake = || IdentityMistake::new("url", EXPECTED);
        let uri: Uri = url.parse().map_err(|_| mistake())?;
        let authority = uri.authority().ok_or_else(mistake)?;
        if uri.scheme_str() != Some("https") || authority.as_str().contains('@') || url.contains('#') {
            return Err(mistake());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(DEFAULT_PORT);
        let name = ServerName::try_from(host.clone()).map_err(|_| mistake())?;
        let sources = ca_file.map(|path| Source { key: CA_FILE, path }).into_iter().collect();
        Ok(Self { config: Reloaded::open(sources, config)?, name, host, port, uri })
    }

    /// Looks at the file with the roots again. Blocks.
    pub fn refresh(&self) -> Refreshed {
        self.config.refresh()
    }

    /// Reads the document.
    ///
    /// # Errors
    /// It is not there, is larger, or takes longer.
    pub async fn get(&self, most_bytes: usize, within: Duration) -> Result<Bytes, FetchError> {
        timeout(within, self.read(most_bytes)).await.unwrap_or(Err(FetchError::Late(within)))
    }

    async fn read(&self, most: usize) -> Result<Bytes, FetchError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|source| FetchError::Connect { host: self.host.clone(), source })?;
        let connector = TlsConnector::from(self.config.current());
        let stream = connector.connect(self.name.clone(), stream).await.map_err(FetchError::Handshake)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this call, however that ends.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let target = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let host = self.uri.authority().map_or("", http::uri::Authority::as_str);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = target.parse().unwrap_or_default();
        if let Ok(host) = host.parse() {
            request.headers_mut().insert(HOST, host);
        }
        request
            .headers_mut()
            .insert(ACCEPT, http::HeaderValue::from_static("application/json, application/jwk-set+json"));
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), most).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLarge(most)
            } else {
                FetchError::Broken(error.to_string())
            }
        })?;
        Ok(body.to_bytes())
    }
}

fn config(contents: &Contents<'_>) -> Result<ClientConfig, IdentityMistake> {
    let mut config = client_config(contents)?;
    config.alpn_protocols = vec![HTTP1.to_vec()];
    Ok(config)
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Https").field(&self.uri).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A server that answers each connection with these bytes, and whose certificate is its own root.
    struct Server {
        url: String,
        folder: tempfile::TempDir,
    }

    impl Server {
        async fn answering(answer: Vec<u8>) -> Self {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec![String::from("localhost")]).unwrap().self_signed(&key).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let encoded = BASE64_STANDARD.encode(certificate.der());
            let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
            std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                    let mut request = vec![0; 4_096];
                    let length = stream.read(&mut request).await.unwrap();
                    assert!(request[..length].starts_with(b"GET /keys?v=1 HTTP/1.1\r\n"));
                    // What is too large for the client is not taken.
                    let _sent = stream.write_all(&answer).await;
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                    let _closed = stream.shutdown().await;
                }
            });
            Self { url: format!("https://localhost:{port}/keys?v=1"), folder }
        }

        async fn get(&self) -> Result<Bytes, FetchError> {
            let https = Https::open(&self.url, Some(self.folder.path().join("ca.pem"))).unwrap();
            https.get(1_000, Duration::from_millis(500)).await
        }
    }

    fn ok(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[tokio::test]
    async fn a_document_is_read_from_a_host_that_is_trusted() {
        let server = Server::answering(ok("{\"keys\": []}")).await;
        assert_eq!(server.get().await.unwrap(), Bytes::from_static(b"{\"keys\": []}"));
        let of_the_system = Https::open(&server.url, None).unwrap();
        let refused = of_the_system.get(1_000, Duration::from_secs(5)).await;
        assert!(matches!(refused, Err(FetchError::Handshake(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_too_large_too_late_elsewhere_or_cut_is_no_document() {
        let too_large = Server::answering(ok(&"x".repeat(1_001))).await.get().await;
        assert!(matches!(too_large, Err(FetchError::TooLarge(1_000))), "{too_large:?}");
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n800\r\n".to_vec();
        let chunked = Server::answering([chunked, vec![b'x'; 0x800]].concat()).await.get().await;
        assert!(matches!(chunked, Err(FetchError::TooLarge(1_000))), "{chunked:?}");
        let elsewhere = b"HTTP/1.1 302 Found\r\nlocation: https://other.example/\r\ncontent-length: 0\r\n\r\n".to_vec();
        let elsewhere = Server::answering(elsewhere).await.get().await;
        assert!(matches!(elsewhere, Err(FetchError::Status(StatusCode::FOUND))), "{elsewhere:?}");
        let cut = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()).await.get().await;
        assert!(matches!(cut, Err(FetchError::Broken(_))), "{cut:?}");
        let other = Server::answering(b"SSH-2.0-OpenSSH\r\n".to_vec()).await.get().await;
        assert!(matches!(other, Err(FetchError::Http(_))), "{other:?}");
        let silent = Server::answering(Vec::new()).await.get().await;
        assert!(matches!(silent, Err(FetchError::Late(_))), "{silent:?}");
    }

    #[test]
    fn only_an_address_that_is_encrypted_and_names_a_host_is_taken() {
        for url in
            ["", "keys", "http://a.example/keys", "https://", "https://user@a.example/", "https://a.example/#keys"]
        {
            assert!(Https::open(url, None).is_err(), "{url}");
        }
        assert!(Https::open("https://[::1]:8443/keys", None).is_ok());
    }
}
