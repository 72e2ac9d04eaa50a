//! Who we are to a service and who it is to us: what is refused is surely not sent, and files that change are followed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use engine::failure::{Code, Failure};
use engine::transport::Transport;
use transport::channel::{ChannelConfig, IdentityConfig, Secret, TlsConfig, TokenSource};
use transport::{ServiceConfig, Services, ServicesError};

use super::certificates::{Certified, Issuer, Mount};
use super::tls_peer::{TlsPeer, serve, settings};
use super::wire::listen;
use super::{LONG, WRITE, attempt, call_over, config, done, not_sent, reserve, without_breaker};

const LOCAL: &str = "127.0.0.1";

fn try_services(address: &str, identity: IdentityConfig, channel: ChannelConfig) -> Result<Services, ServicesError> {
    let (name, prefixes) = ("echo".to_owned(), vec!["test.echo.v1".to_owned()]);
    let (address, breaker) = (address.to_owned(), without_breaker());
    Services::new(
        &test_contracts::CONTRACTS,
        [ServiceConfig { name, prefixes, address, identity, channel, breaker, ..ServiceConfig::default() }],
    )
}

fn services(address: SocketAddr, identity: IdentityConfig) -> Services {
    let channel = ChannelConfig { back_off: Duration::from_millis(1), ..config() };
    try_services(&format!("https://{address}"), identity, channel).unwrap()
}

fn trusting(ca_file: PathBuf) -> IdentityConfig {
    let tls = TlsConfig { ca_file: Some(ca_file), ..TlsConfig::default() };
    IdentityConfig { tls: Some(tls), ..IdentityConfig::default() }
}

/// Why no connection comes about.
async fn unconnected(services: &Services) -> Failure {
    let unsent = reserve(services).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    unsent.failure
}

#[tokio::test]
async fn a_service_is_trusted_by_the_roots_in_the_file_and_by_no_others() {
    let (ours, other) = (Issuer::new("ours"), Issuer::new("other"));
    let mount = Mount::new(&[("ca.crt", ours.pem())]);
    let mut peer = TlsPeer::start(settings(&ours.issue(LOCAL), None, &["h2"])).await;
    let identity = trusting(mount.path("ca.crt"));
    done(call_over(&services(peer.address, identity.clone()), attempt(LONG)).await);
    let seen = peer.seen().unwrap();
    assert_eq!(seen.head.uri.to_string(), format!("https://{}/test.echo.v1.EchoService/Write", peer.address));
    assert!(!seen.head.headers.contains_key("authorization"));

    peer.change(settings(&other.issue(LOCAL), None, &["h2"]));
    let failure = unconnected(&services(peer.address, identity)).await;
    assert!(failure.message().contains("no TLS: invalid peer certificate: UnknownIssuer"), "{failure}");
    assert!(peer.seen().is_none());
}

#[tokio::test]
async fn without_a_file_the_roots_of_the_system_are_trusted() {
    let ours = Issuer::new("ours");
    let peer = TlsPeer::start(settings(&ours.issue(LOCAL), None, &["h2"])).await;
    let failure = unconnected(&services(peer.address, IdentityConfig::default())).await;
    assert!(failure.message().contains("UnknownIssuer"), "{failure}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_that_name_is_expected() {
    let ours = Issuer::new("ours");
    let mount = Mount::new(&[("ca.crt", ours.pem())]);
    let mut peer = TlsPeer::start(settings(&ours.issue("users.guras.svc"), None, &["h2"])).await;
    let mut identity = trusting(mount.path("ca.crt"));
    let failure = unconnected(&services(peer.address, identity.clone())).await;
    assert!(failure.message().contains("not valid for name"), "{failure}");
    assert!(peer.seen().is_none());

    identity.tls.as_mut().unwrap().server_name = Some("users.guras.svc".to_owned());
    done(call_over(&services(peer.address, identity), attempt(LONG)).await);
    assert_eq!(peer.seen().unwrap().head.uri.authority().unwrap(), "users.guras.svc");
}

#[tokio::test]
async fn a_service_that_wants_to_know_us_is_shown_our_certificate() {
    let ours = Issuer::new("ours");
    let client = ours.issue("orchestrator");
    let mount = Mount::new(&secret(&ours, &client));
    let mut peer = TlsPeer::start(settings(&ours.issue(LOCAL), Some(&ours), &["h2"])).await;
    let failure = unconnected(&services(peer.address, trusting(mount.path("ca.crt")))).await;
    assert!(failure.message().contains("received fatal alert: CertificateRequired"), "{failure}");
    assert!(peer.seen().is_none());

    done(call_over(&services(peer.address, mutual(&mount)), attempt(LONG)).await);
    assert_eq!(peer.seen().unwrap().client, Some(client.certificate));
}

#[tokio::test]
async fn a_service_that_does_not_agree_to_http2_is_refused() {
    let ours = Issuer::new("ours");
    let mount = Mount::new(&[("ca.crt", ours.pem())]);
    for protocols in [&[][..], &["http/1.1"]] {
        let mut peer = TlsPeer::start(settings(&ours.issue(LOCAL), None, protocols)).await;
        let failure = unconnected(&services(peer.address, trusting(mount.path("ca.crt")))).await;
        assert!(failure.message().contains("does not agree to HTTP/2 in the TLS handshake"), "{failure}");
        assert!(peer.seen().is_none());
    }
}

#[tokio::test]
async fn a_service_without_tls_gets_nothing_of_a_call_that_wants_it() {
    let (listener, address) = listen().await;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0, None, &sender).await });
    let failure = unconnected(&services(address, IdentityConfig::default())).await;
    assert!(failure.message().contains("no TLS: "), "{failure}");
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let (listener, address) = listen().await;
    let channel = ChannelConfig { connect_timeout: Duration::from_millis(30), ..config() };
    let services = try_services(&format!("https://{address}"), IdentityConfig::default(), channel).unwrap();
    let failure = unconnected(&services).await;
    assert!(failure.message().contains("not connected within 30ms"), "{failure}");
    drop(listener);
}

/// The files of a Secret, as cert-manager names them.
fn secret(issuer: &Issuer, client: &Certified) -> [(&'static str, String); 3] {
    [("ca.crt", issuer.pem()), ("tls.crt", client.pem()), ("tls.key", client.key_pem())]
}

fn mutual(mount: &Mount) -> IdentityConfig {
    let mut identity = trusting(mount.path("ca.crt"));
    let tls = identity.tls.as_mut().unwrap();
    tls.certificate_file = Some(mount.path("tls.crt"));
    tls.key_file = Some(mount.path("tls.key"));
    identity
}

/// Ends the connection, and waits until that is noticed.
async fn hang_up(peer: &mut TlsPeer, services: &Services) {
    peer.hang_up();
    while services.try_reserve(WRITE).is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn new_connections_follow_the_files_and_old_ones_are_left_alone() {
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let (before, after) = (old.issue("orchestrator"), new.issue("orchestrator"));
    let mut mount = Mount::new(&secret(&old, &before));
    let mut peer = TlsPeer::start(settings(&old.issue(LOCAL), Some(&old), &["h2"])).await;
    let services = services(peer.address, mutual(&mount));
    done(call_over(&services, attempt(LONG)).await);

    mount.change(&secret(&new, &after));
    peer.change(settings(&new.issue(LOCAL), Some(&new), &["h2"]));
    services.refresh_identities().await;
    done(call_over(&services, attempt(LONG)).await);
    for _ in 0..2 {
        assert_eq!(peer.seen().unwrap().client.as_ref(), Some(&before.certificate));
    }

    hang_up(&mut peer, &services).await;
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(peer.seen().unwrap().client, Some(after.certificate));
}

#[tokio::test]
async fn a_connection_is_opened_with_the_files_as_they_are_at_the_moment() {
    let ours = Issuer::new("ours");
    let (before, after) = (ours.issue("orchestrator"), ours.issue("orchestrator"));
    let mut mount = Mount::new(&secret(&ours, &before));
    let mut peer = TlsPeer::start(settings(&ours.issue(LOCAL), Some(&ours), &["h2"])).await;
    let services = services(peer.address, mutual(&mount));
    mount.change(&secret(&ours, &after));
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(peer.seen().unwrap().client, Some(after.certificate));
}

#[tokio::test]
async fn files_that_are_of_no_use_are_told_and_those_before_stay_in_force() {
    let ours = Issuer::new("ours");
    let (client, other) = (ours.issue("orchestrator"), ours.issue("orchestrator"));
    let good = secret(&ours, &client);
    let mut mount = Mount::new(&good);
    let mut peer = TlsPeer::start(settings(&ours.issue(LOCAL), Some(&ours), &["h2"])).await;
    let services = services(peer.address, mutual(&mount));
    let bad = |name: &'static str, content: String| {
        good.clone().map(|file| if file.0 == name { (name, content.clone()) } else { file })
    };
    for (name, content, told) in [
        ("ca.crt", "nothing".to_owned(), "tls.ca_file: "),
        ("tls.crt", String::new(), "tls.certificate_file: "),
        ("tls.key", other.key_pem(), "tls.key_file: "),
    ] {
        mount.change(&bad(name, content));
        services.refresh_identities().await;
        let error = services.states()[0].identity_error.clone().unwrap();
        assert!(error.starts_with(told) && error.contains(name), "{error}");
        done(call_over(&services, attempt(LONG)).await);
        assert_eq!(peer.seen().unwrap().client.as_ref(), Some(&client.certificate));
        hang_up(&mut peer, &services).await;
    }
    mount.change(&good);
    services.refresh_identities().await;
    assert_eq!(services.states()[0].identity_error, None);
}

#[test]
fn mistakes_in_an_identity_name_the_key_and_the_file() {
    let ours = Issuer::new("ours");
    let (client, other) = (ours.issue("orchestrator"), ours.issue("orchestrator"));
    let mount = Mount::new(&[
        ("ca.crt", ours.pem()),
        ("tls.crt", client.pem()),
        ("tls.key", client.key_pem()),
        ("other.key", other.key_pem()),
        ("broken", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".to_owned()),
        ("text", "nothing".to_owned()),
    ]);
    let tls = |change: &dyn Fn(&mut TlsConfig)| {
        let mut identity = mutual(&mount);
        identity.tls.as_mut().map(change);
        identity
    };
    let token = |source| IdentityConfig { token: Some(source), ..IdentityConfig::default() };
    let at = |name: &str| Some(mount.path(name));
    for (address, identity, told) in [
        ("https", tls(&|tls| tls.ca_file = at("missing")), "tls.ca_file: "),
        ("https", tls(&|tls| tls.ca_file = at("text")), "holds no certificate in PEM"),
        ("https", tls(&|tls| tls.ca_file = at("broken")), "tls.ca_file: "),
        ("https", tls(&|tls| tls.certificate_file = at("tls.key")), "holds no certificate in PEM"),
        ("https", tls(&|tls| tls.key_file = at("tls.crt")), "holds no private key in PEM"),
        ("https", tls(&|tls| tls.key_file = at("other.key")), "tls.key_file: "),
        ("https", tls(&|tls| tls.key_file = None), "tls.key_file: expected the private key of the certificate_file"),
        ("https", tls(&|tls| tls.certificate_file = None), "expected the certificate of the key_file"),
        ("https", tls(&|tls| tls.server_name = Some("no name".into())), "tls.server_name: is neither a DNS name nor"),
        ("https", token(TokenSource::File(mount.path("missing"))), "token_file: "),
        ("https", token(TokenSource::Inline(Secret::new("a b"))), "token: is no token"),
        ("http", token(TokenSource::Inline(Secret::new("abc"))), "token: anyone on the way could read it"),
    ] {
        let error = try_services(&format!("{address}://{LOCAL}:1"), identity, config()).unwrap_err().to_string();
        assert!(error.starts_with("service echo: ") && error.contains(told), "{error}");
        assert!(!error.contains("abc") && !error.contains("a b"), "{error}");
    }
}

/// A service that trusts us by a token in a file, and the certificate that we trust it by beside it.
async fn with_token(token: &str) -> (TlsPeer, Mount, IdentityConfig) {
    let ours = Issuer::new("ours");
    let peer = TlsPeer::start(settings(&ours.issue(LOCAL), None, &["h2"])).await;
    let mount = Mount::new(&[("ca.crt", ours.pem()), ("token", token.to_owned())]);
    let token = Some(TokenSource::File(mount.path("token")));
    let identity = IdentityConfig { token, ..trusting(mount.path("ca.crt")) };
    (peer, mount, identity)
}

fn authorization(peer: &mut TlsPeer) -> String {
    peer.seen().unwrap().head.headers["authorization"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_call_carries_the_token_and_follows_its_file() {
    let (mut peer, mount, identity) = with_token("one\n").await;
    let services = services(peer.address, identity);
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(authorization(&mut peer), "Bearer one");

    std::fs::write(mount.path("token"), "two\n").unwrap();
    services.refresh_identities().await;
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(authorization(&mut peer), "Bearer two");

    std::fs::remove_file(mount.path("token")).unwrap();
    services.refresh_identities().await;
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(authorization(&mut peer), "Bearer two");
    let error = services.states()[0].identity_error.clone().unwrap();
    assert!(error.starts_with("token_file: ") && !error.contains("two"), "{error}");
}

#[tokio::test]
async fn a_call_without_a_token_that_is_any_good_is_not_sent() {
    let jwt = |exp: u64| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)));
    let (mut peer, mount, identity) = with_token(&jwt(1_700_000_000)).await;
    let services = services(peer.address, identity);
    let unsent = not_sent(call_over(&services, attempt(LONG)).await);
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    assert!(unsent.failure.message().ends_with("has expired and there is no newer one"), "{}", unsent.failure);
    assert!(peer.seen().is_none());

    std::fs::write(mount.path("token"), jwt(99_999_999_999)).unwrap();
    services.refresh_identities().await;
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(authorization(&mut peer), format!("Bearer {}", jwt(99_999_999_999)));
}

#[tokio::test]
async fn a_token_goes_over_a_plain_connection_only_where_that_is_allowed() {
    let (listener, address) = listen().await;
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move { serve(listener.accept().await.unwrap().0, None, &sender).await });
    let token = Some(TokenSource::Inline(Secret::new("abc")));
    let identity = IdentityConfig { token, allow_insecure_token: true, ..IdentityConfig::default() };
    let services = try_services(&format!("http://{address}"), identity, config()).unwrap();
    done(call_over(&services, attempt(LONG)).await);
    assert_eq!(seen.recv().await.unwrap().head.headers["authorization"], "Bearer abc");
}
