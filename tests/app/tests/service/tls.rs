//! TLS on both listeners, callers who prove who they are by certificates, and the socket in the file system.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use server::access::Role;
use server::command_line::Exit;
use server::configuration::{AdminTls, Configuration, ListenerTls};
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{ListRunsRequest, WatchRunRequest};
use tonic::{Code, Status};
use transport::channel::{Direct, IdentityConfig, TlsConfig, connect_as};

use crate::access::grant;
use crate::support::{Services, World, command};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// A folder with certificates and keys.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn trust(&self, name: &str, authority: &Authority) -> PathBuf {
        std::fs::write(self.path(name), pem("CERTIFICATE", authority.der())).unwrap();
        self.path(name)
    }

    /// Writes a certificate with its key as `name.pem` and `name.key`.
    fn issue(&self, name: &str, authority: &Authority, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, authority).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), pem("CERTIFICATE", certificate.der())).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    }
}

fn named(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

fn with_uri(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).unwrap()));
    params
}

/// A world whose admin listener encrypts, and knows callers by certificates of `clients`.
async fn world(files: &Files, servers: &Authority, clients: &Authority) -> World {
    files.trust("servers.pem", servers);
    files.issue("server", servers, &named("localhost"));
    let client_ca_file = files.trust("clients.pem", clients);
    let (certificate_file, key_file) = (files.path("server.pem"), files.path("server.key"));
    World::configured(Services::good(), move |configuration: &mut Configuration| {
        let admin = &mut configuration.admin;
        configuration.health.tls =
            ListenerTls { certificate_file: certificate_file.clone(), key_file: key_file.clone() };
        admin.tls = AdminTls { certificate_file, key_file, client_ca_file };
        admin.grants.push(grant("cert:ops.example.org", Role::Admin, &[]));
        admin.grants.push(grant("cert:spiffe://example.org/reports", Role::Viewer, &[]));
    })
    .await
}

fn secured(address: &str) -> String {
    let port = address.rsplit_once(':').unwrap().1;
    format!("https://localhost:{port}")
}

/// A client that trusts the authority of the listener and shows this certificate.
fn client(files: &Files, address: &str, shows: Option<&str>) -> RunServiceClient<Direct> {
    let tls = TlsConfig {
        ca_file: Some(files.path("servers.pem")),
        certificate_file: shows.map(|name| files.path(&format!("{name}.pem"))),
        key_file: shows.map(|name| files.path(&format!("{name}.key"))),
        server_name: None,
    };
    let identity = IdentityConfig { tls: Some(tls), ..IdentityConfig::default() };
    RunServiceClient::new(connect_as(&secured(address), &identity).unwrap())
}

async fn listed(client: &mut RunServiceClient<Direct>) -> Code {
    client.list_runs(ListRunsRequest::default()).await.err().map_or(Code::Ok, |told| told.code())
}

#[tokio::test]
async fn a_certificate_proves_who_calls_by_its_names_and_no_certificate_proves_nothing() {
    let (files, servers, clients) = (Files::new(), authority(), authority());
    let world = world(&files, &servers, &clients).await;
    files.issue("ops", &clients, &named("ops.example.org"));
    files.issue("reports", &clients, &with_uri("spiffe://example.org/reports"));
    files.issue("other", &clients, &named("other.example.org"));
    files.issue("nameless", &clients, &CertificateParams::new(Vec::new()).unwrap());
    files.issue("foreign", &servers, &named("ops.example.org"));
    let mut expired = named("ops.example.org");
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    files.issue("expired", &clients, &expired);
    let mut early = named("ops.example.org");
    early.not_before = rcgen::date_time_ymd(2999, 1, 1);
    early.not_after = rcgen::date_time_ymd(3000, 1, 1);
    files.issue("early", &clients, &early);
    for (shows, expected) in [
        (Some("ops"), Code::Ok),
        (Some("reports"), Code::Ok),
        (Some("other"), Code::PermissionDenied),
        (Some("nameless"), Code::Unauthenticated),
        (None, Code::Unauthenticated),
        // The handshake fails.
        (Some("foreign"), Code::Unavailable),
        (Some("expired"), Code::Unavailable),
        (Some("early"), Code::Unavailable),
    ] {
        let mut client = client(&files, &world.admin, shows);
        assert_eq!(listed(&mut client).await, expected, "{shows:?}");
    }
    let greeted = client(&files, &world.admin, Some("reports")).start_run(crate::support::start("test.greet", 0)).await;
    assert_eq!(greeted.unwrap_err().code(), Code::PermissionDenied);
    // The same listener speaks nothing else.
    let plain = connect_as(&world.admin, &IdentityConfig::default()).unwrap();
    assert_eq!(listed(&mut RunServiceClient::new(plain)).await, Code::Unavailable);
    // The health listener encrypts too, and asks nobody who it is.
    let probe = client(&files, &world.health, None).list_runs(ListRunsRequest::default()).await;
    assert_eq!(probe.unwrap_err().code(), Code::Unimplemented);
    world.running.drain().await;
}

/// What a call of the method with an empty message is answered with.
async fn called(channel: Direct, path: &'static str) -> Code {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let told = client.unary::<(), (), _>(tonic::Request::new(()), path, tonic_prost::ProstCodec::default()).await;
    told.err().map_or(Code::Ok, |told| told.code())
}

#[tokio::test]
async fn every_method_takes_its_role_and_no_less_of_a_certificate_and_of_a_user_of_the_socket() {
    const ROLES: [(Role, &str); 3] = [(Role::Viewer, "viewer"), (Role::Operator, "operator"), (Role::Admin, "admin")];
    let (files, servers, clients) = (Files::new(), authority(), authority());
    for (role, name) in ROLES {
        files.trust("servers.pem", &servers);
        files.issue("server", &servers, &named("localhost"));
        files.issue(name, &clients, &named(name));
        let client_ca_file = files.trust("clients.pem", &clients);
        let (certificate_file, key_file) = (files.path("server.pem"), files.path("server.key"));
        let socket = files.path(&format!("{name}.sock"));
        let at = socket.clone();
        let world = World::configured(Services::good(), move |configuration: &mut Configuration| {
            let admin = &mut configuration.admin;
            admin.tls = AdminTls { certificate_file, key_file, client_ca_file };
            admin.socket = at;
            admin.grants.push(grant(&format!("cert:{name}"), role, &[]));
            admin.grants.push(grant(&format!("unix:{}", rustix::process::getuid().as_raw()), role, &[]));
        })
        .await;
        let identity = |shows: Option<&str>| IdentityConfig {
            tls: Some(TlsConfig {
                ca_file: Some(files.path("servers.pem")),
                certificate_file: shows.map(|name| files.path(&format!("{name}.pem"))),
                key_file: shows.map(|name| files.path(&format!("{name}.key"))),
                server_name: None,
            }),
            ..IdentityConfig::default()
        };
        let by_certificate = connect_as(&secured(&world.admin), &identity(Some(name))).unwrap();
        let nobody = connect_as(&secured(&world.admin), &identity(None)).unwrap();
        let by_socket = connect_as(&format!("unix:{}", socket.display()), &IdentityConfig::default()).unwrap();
        assert!(server::proto::ROLES.len() > 30, "{}", server::proto::ROLES.len());
        for rule in server::proto::ROLES {
            assert_eq!(called(nobody.clone(), rule.path).await, Code::Unauthenticated, "{}", rule.path);
            for channel in [by_certificate.clone(), by_socket.clone()] {
                let code = called(channel, rule.path).await;
                if role < rule.role {
                    assert_eq!(code, Code::PermissionDenied, "{} as {name}", rule.path);
                } else {
                    let refusals =
                        [Code::PermissionDenied, Code::Unauthenticated, Code::Unimplemented, Code::Unavailable];
                    assert!(!refusals.contains(&code), "{} as {name}: {code:?}", rule.path);
                }
            }
        }
        world.running.drain().await;
    }
}

/// Asks until the answer is this one.
async fn until(client: &mut RunServiceClient<Direct>, expected: Code) {
    let since = Instant::now();
    while listed(client).await != expected {
        assert!(since.elapsed() < Duration::from_secs(20), "{expected:?} never came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn certificates_are_replaced_under_open_connections_which_continue() {
    let (files, servers, clients) = (Files::new(), authority(), authority());
    let world = world(&files, &servers, &clients).await;
    files.issue("ops", &clients, &named("ops.example.org"));
    let mut before = client(&files, &world.admin, Some("ops"));
    assert_eq!(listed(&mut before).await, Code::Ok);

    // The listener gets a certificate of another authority.
    let next = authority();
    files.issue("server", &next, &named("localhost"));
    let refresh = || world.running.certificates().iter().for_each(|(_, tls)| drop(tls.refresh()));
    refresh();
    assert_eq!(listed(&mut before).await, Code::Ok, "an open connection continues");
    assert_eq!(listed(&mut client(&files, &world.admin, Some("ops"))).await, Code::Unavailable);
    files.trust("servers.pem", &next);
    let mut after = client(&files, &world.admin, Some("ops"));
    assert_eq!(listed(&mut after).await, Code::Ok);
    // What cannot be used changes nothing.
    std::fs::write(files.path("server.key"), "no key").unwrap();
    refresh();
    assert_eq!(listed(&mut client(&files, &world.admin, Some("ops"))).await, Code::Ok);
    files.issue("server", &next, &named("localhost"));

    // The authority of the callers is withdrawn: those who are connected lose what it proved, streams too.
    let run = world.running.engine().clone();
    let id = crate::support::start("test.wait", 0);
    let started = after.start_run(id).await.unwrap().into_inner();
    let request = WatchRunRequest { run_id: started.run_id.clone(), ..WatchRunRequest::default() };
    let mut watch = after.watch_run(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    files.trust("clients.pem", &authority());
    refresh();
    until(&mut after, Code::Unauthenticated).await;
    until(&mut before, Code::Unauthenticated).await;
    let ended = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(told) => return Err::<(), Status>(told),
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    drop(run);
    world.running.drain().await;
}

#[tokio::test]
async fn the_socket_is_for_its_user_only_and_says_who_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    // One that a process left which was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let user = rustix::process::getuid().as_raw();
    let at = path.clone();
    let world = World::configured(Services::good(), move |configuration| {
        configuration.admin.socket = at;
        configuration.admin.grants.push(grant(&format!("unix:{user}"), Role::Operator, &[]));
    })
    .await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = async |arguments: &[&str], server: String| {
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.insert(0, String::from("orchestrator"));
        arguments.extend([String::from("--server"), server]);
        tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap()
    };
    let socket = format!("unix:{}", path.display());
    let (exit, _, talk) = asked(&["runs", "start", "test.greet", "--wait"], socket.clone()).await;
    assert_eq!(exit, Exit::Ok, "{talk}");
    let (_, audit, _) = asked(&["audit", "list"], socket).await;
    assert!(audit.contains(&format!("unix:{user}")), "{audit}");
    // The port beside it proves nothing.
    let (exit, _, talk) = asked(&["runs", "list"], world.admin.clone()).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("UNAUTHENTICATED") && talk.contains("socket"), "{talk}");
    world.running.drain().await;
    assert!(!Path::new(&path).exists(), "the socket is removed at the end");
}

#[tokio::test]
async fn the_command_line_logs_in_with_a_certificate() {
    let (files, servers, clients) = (Files::new(), authority(), authority());
    let world = world(&files, &servers, &clients).await;
    files.issue("ops", &clients, &named("ops.example.org"));
    let text = |name: &str| files.path(name).to_str().unwrap().to_owned();
    let mut arguments =
        ["orchestrator", "runs", "start", "test.greet", "--wait", "--server"].map(str::to_owned).to_vec();
    arguments.push(secured(&world.admin));
    arguments.extend([String::from("--ca-file"), text("servers.pem")]);
    let without = arguments.clone();
    arguments.extend([
        String::from("--certificate-file"),
        text("ops.pem"),
        String::from("--key-file"),
        text("ops.key"),
    ]);
    let (exit, _, talk) = tokio::task::spawn_blocking(move || command(&arguments)).await.unwrap();
    assert_eq!(exit, Exit::Ok, "{talk}");
    let (exit, _, talk) = tokio::task::spawn_blocking(move || command(&without)).await.unwrap();
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("UNAUTHENTICATED") && talk.contains("--certificate-file"), "{talk}");
    world.running.drain().await;
}
