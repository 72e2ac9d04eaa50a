//! An issuer of JWTs that publishes its keys at an address: they are read, followed, and kept where they cannot be read.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::jwk::JwkSet;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use server::access::Role;
use server::configuration::JwtConfig;
use server::proto::orchestrator::admin::v1::ListRunsRequest;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request};

use crate::access::grant;
use crate::issuer::{Issuer, claims, key, sign_with};
use crate::support::{Services, World};

/// Answers each request with what is published at the moment.
struct Publisher {
    url: String,
    folder: tempfile::TempDir,
    published: Arc<Mutex<String>>,
}

impl Publisher {
    async fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![String::from("localhost")]).unwrap().self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let encoded = BASE64_STANDARD.encode(certificate.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/keys", listener.local_addr().unwrap().port());
        let published: Arc<Mutex<String>> = Arc::default();
        let answers = Arc::clone(&published);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = vec![0; 4_096];
                let _read = stream.read(&mut request).await;
                let body = answers.lock().unwrap().clone();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let _sent = stream.write_all(answer.as_bytes()).await;
                let _closed = stream.shutdown().await;
            }
        });
        Self { url, folder, published }
    }

    fn publish(&self, keys: &str) {
        keys.clone_into(&mut self.published.lock().unwrap());
    }

    fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }
}

fn set(keys: &[jsonwebtoken::jwk::Jwk]) -> String {
    serde_json::to_string(&JwkSet { keys: keys.to_vec() }).unwrap()
}

#[tokio::test]
async fn keys_are_read_from_where_their_issuer_publishes_them_and_the_last_good_ones_stay() {
    let (issuer, publisher) = (Issuer::new(), Publisher::new().await);
    publisher.publish(&set(std::slice::from_ref(&issuer.jwk)));
    let (of_file, keys_url, keys_url_ca_file) = (issuer.configuration(), publisher.url.clone(), publisher.ca_file());
    let world = World::configured(Services::good(), |configuration| {
        let admin = &mut configuration.admin;
        admin.jwt = JwtConfig { keys_file: PathBuf::new(), keys_url, keys_url_ca_file, ..of_file };
        admin.grants.push(grant("jwt:reports", Role::Viewer, &[]));
    })
    .await;
    let channel = World::channel(&world.admin).await;
    let code = async |token: &str| {
        let mut request = Request::new(ListRunsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        RunServiceClient::new(channel.clone()).list_runs(request).await.err().map_or(Code::Ok, |told| told.code())
    };
    let first = issuer.token("reports");
    // The background service reads them by itself.
    let began = Instant::now();
    while code(&first).await != Code::Ok {
        assert!(began.elapsed() < Duration::from_secs(20), "the keys were not read");
    }
    let (next, next_jwk) = key("next");
    let second = sign_with(&next, "next", &claims("reports"));
    assert_eq!(code(&second).await, Code::Unauthenticated);
    publisher.publish(&set(&[issuer.jwk.clone(), next_jwk.clone()]));
    world.running.guard().read_keys().await.unwrap();
    assert_eq!((code(&first).await, code(&second).await), (Code::Ok, Code::Ok));
    for broken in
        ["", "{}", "{\"keys\": []}", &"x".repeat(1 << 20), "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}"]
    {
        publisher.publish(broken);
        assert!(world.running.guard().read_keys().await.is_err(), "{broken:.20}");
        assert_eq!(code(&second).await, Code::Ok, "{broken:.20}");
    }
    publisher.publish(&set(&[next_jwk]));
    world.running.guard().read_keys().await.unwrap();
    assert_eq!((code(&first).await, code(&second).await), (Code::Unauthenticated, Code::Ok));
    world.running.drain().await;
}
