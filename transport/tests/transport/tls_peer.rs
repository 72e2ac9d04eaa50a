//! A service behind TLS that shows what reached it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::HI;
use super::certificates::{Certified, Issuer};
use super::wire::{framed, listen};

/// A request that reached the service.
#[derive(Debug)]
pub struct Seen {
    pub head: http::request::Parts,
    /// What the client showed of itself.
    pub client: Option<CertificateDer<'static>>,
}

pub struct TlsPeer {
    pub address: SocketAddr,
    pub seen: UnboundedReceiver<Seen>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

/// The settings of a service that shows this certificate, and wants one by this issuer where it is named.
pub fn settings(shown: &Certified, clients: Option<&Issuer>, protocols: &[&str]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match clients {
        Some(issuer) => {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.certificate()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
        None => builder.unwrap().with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(shown.key.clone()).unwrap();
    let mut config = builder.with_single_cert(vec![shown.certificate.clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

impl TlsPeer {
    pub async fn start(config: ServerConfig) -> Self {
        let (listener, address) = listen().await;
        let (sender, seen) = unbounded_channel();
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let (current, tasks) = (Arc::clone(&config), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&current.lock().unwrap()));
                let sender = sender.clone();
                tasks.lock().unwrap().spawn(async move {
                    // Who is refused is not served, which is what some tests are about.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let client = stream.get_ref().1.peer_certificates();
                    let client = client.and_then(|chain| chain.first().cloned()).map(CertificateDer::into_owned);
                    serve(stream, client, &sender).await;
                });
            }
        });
        Self { address, seen, config, connections }
    }

    /// What holds for the connections to come.
    pub fn change(&self, config: ServerConfig) {
        *self.config.lock().unwrap() = Arc::new(config);
    }

    /// Ends every connection.
    pub fn hang_up(&mut self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// The request that has reached it, where one has.
    pub fn seen(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }
}

/// Answers every request with the same message.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: Option<CertificateDer<'static>>,
    sender: &UnboundedSender<Seen>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        let (head, _) = request.into_parts();
        sender.send(Seen { head, client: client.clone() }).unwrap();
        let response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut stream = answer.send_response(response, false).unwrap();
        stream.send_data(Bytes::from(framed(HI)), false).unwrap();
        stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])).unwrap();
    }
}
