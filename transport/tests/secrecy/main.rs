//! What is logged and what `Debug` shows while tokens and keys are used. In a process of its own: what is logged is decided
//! for all threads of one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(unreachable_pub, reason = "modules of a test have no outside")]

#[path = "../transport/certificates.rs"]
mod certificates;
#[expect(dead_code, reason = "the tests of the transport use all of it")]
#[path = "../transport/tls_peer.rs"]
mod tls_peer;
#[expect(dead_code, reason = "the tests of the transport use all of it")]
#[path = "../transport/wire.rs"]
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::claim::Always;
use engine::rpc::Level;
use engine::transport::{Attempt, Outcome, StepPlace, Transport};
use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;
use transport::channel::{IdentityConfig, Secret, TlsConfig, TokenSource};
use transport::{ServiceConfig, Services};

use certificates::{Issuer, Mount};
use tls_peer::{TlsPeer, settings};

/// The response message `{payload: "hi"}`.
const HI: &[u8] = b"\x0a\x02hi";

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn call(services: &Services) -> Outcome {
    let (run, within) = ("018f4c1e-0000-7000-8000-00000000002a".parse().unwrap(), Duration::from_secs(10));
    let reserved = services.reserve("/test.echo.v1.EchoService/Write", run, within).await.unwrap();
    let attempt = Attempt {
        request: bytes::Bytes::new(),
        level: Level::Idempotent,
        key: None,
        deadline: Instant::now() + within,
        run,
        step: StepPlace::default(),
        number: 1,
        epoch: 1,
        claim: Arc::new(Always),
    };
    reserved.ready().await.unwrap().send(attempt).await
}

#[tokio::test]
async fn neither_the_log_nor_debug_shows_a_token_or_a_key() {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
    let _guard = subscriber.with_writer(move || written.clone()).finish().set_default();

    let ours = Issuer::new("ours");
    let client = ours.issue("orchestrator");
    let key = client.key_pem();
    let mut peer = TlsPeer::start(settings(&ours.issue("127.0.0.1"), Some(&ours), &["h2"])).await;
    let mut mount = Mount::new(&[
        ("ca.crt", ours.pem()),
        ("tls.crt", client.pem()),
        ("tls.key", key.clone()),
        ("token", String::from("s3cr3t-one")),
    ]);
    let file = |name| Some(mount.path(name));
    let tls = TlsConfig {
        ca_file: file("ca.crt"),
        certificate_file: file("tls.crt"),
        key_file: file("tls.key"),
        server_name: None,
    };
    let identity = IdentityConfig {
        tls: Some(tls),
        token: Some(TokenSource::File(mount.path("token"))),
        allow_insecure_token: false,
    };
    let inline = TokenSource::Inline(Secret::new("s3cr3t-two"));
    let services = Services::new(
        &test_contracts::CONTRACTS,
        [ServiceConfig {
            name: String::from("echo"),
            prefixes: vec![String::from("test.echo.v1")],
            address: format!("https://{}", peer.address),
            identity: identity.clone(),
            ..ServiceConfig::default()
        }],
    )
    .unwrap();

    let Outcome::Done(_) = call(&services).await else { panic!("the call was not made") };
    assert_eq!(peer.seen().unwrap().head.headers["authorization"], "Bearer s3cr3t-one");
    mount.change(&[("token", String::from("s3cr3t three")), ("tls.key", String::from("s3cr3t four"))]);
    services.refresh_identities().await;

    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("files cannot be used") && logged.contains("send frame=Headers"), "{logged}");
    let debug = format!("{identity:?} {inline:?} {services:?} {:?}", services.states());
    let key = key.lines().nth(1).unwrap();
    for shown in [logged, debug] {
        assert!(!shown.contains("s3cr3t") && !shown.contains(key), "{shown}");
    }
}
