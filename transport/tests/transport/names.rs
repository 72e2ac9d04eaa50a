//! Names and what they lead to: addresses that come and go, resolvers that fail, and sockets in the file system.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::failure::Code;
use engine::transport::Transport;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use transport::Services;
use transport::channel::Connectivity::{self, Ready};
use transport::channel::{ChannelConfig, Resolution, Resolve};

use super::balancing::{LEAST_REQUEST, ROUND_ROBIN, make, until};
use super::servers::Server;
use super::{HI, LONG, WRITE, attempt, call_over, config, done, reserve, services_at};

/// Answers what the test says.
#[derive(Debug, Default)]
struct Names {
    /// None: the name is not known.
    addresses: Mutex<Option<Vec<SocketAddr>>>,
    hangs: bool,
    asked: AtomicUsize,
}

impl Names {
    fn lead_to<'s>(&self, servers: impl IntoIterator<Item = &'s Server>) {
        *self.addresses.lock().unwrap() = Some(servers.into_iter().map(|server| server.address).collect());
    }

    fn are_unknown(&self) {
        *self.addresses.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for Names {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        assert_eq!((host, port), ("echo.test", 50051));
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.addresses.lock().unwrap().clone();
        let hangs = self.hangs;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            found.ok_or_else(|| io::Error::other("no such name"))
        }
        .boxed()
    }
}

fn by_name(names: &Arc<Names>, policy: &str, interval: Duration) -> Services {
    let (resolver, min_interval) = (Arc::clone(names) as Arc<dyn Resolve>, Duration::from_millis(1));
    let resolution = Resolution { resolver, interval, min_interval, timeout: Duration::from_millis(200) };
    let (back_off, max_back_off) = (Duration::from_millis(5), Duration::from_millis(20));
    services_at("dns:///echo.test:50051", policy, ChannelConfig { resolution, back_off, max_back_off, ..config() })
}

const OFTEN: Duration = Duration::from_millis(2);

#[tokio::test]
async fn an_endpoint_that_is_gone_from_the_name_finishes_its_calls_and_gets_no_new_ones() {
    let servers = [Server::start().await, Server::start().await];
    let names = Arc::new(Names::default());
    names.lead_to(&servers);
    let services = by_name(&names, ROUND_ROBIN, OFTEN);
    until(&services, &[Ready; 2]).await;

    servers.iter().for_each(|server| server.set_open(false));
    let held: Vec<_> =
        (0..10).map(|_| tokio::spawn(services.try_reserve(WRITE).unwrap().send(attempt(LONG)))).collect();
    while servers.iter().map(Server::seen).sum::<usize>() < 10 {
        tokio::task::yield_now().await;
    }
    names.lead_to(&servers[1..]);
    until(&services, &[Ready]).await;
    assert_eq!(servers.each_ref().map(Server::calls), [5; 2]);
    assert_eq!(services.states()[0].channel.in_flight, 10);

    servers.iter().for_each(|server| server.set_open(true));
    make(&services, 10).await;
    assert_eq!(servers.each_ref().map(Server::calls), [0, 10]);
    for call in held {
        done(call.await.unwrap());
    }
    assert_eq!(services.states()[0].channel.in_flight, 0);
}

#[tokio::test]
async fn an_endpoint_that_is_new_in_the_name_gets_calls() {
    let servers = [Server::start().await, Server::start().await];
    let names = Arc::new(Names::default());
    names.lead_to(&servers[..1]);
    let services = by_name(&names, ROUND_ROBIN, OFTEN);
    make(&services, 4).await;
    assert_eq!(servers.each_ref().map(Server::calls), [4, 0]);
    names.lead_to(&servers);
    until(&services, &[Ready; 2]).await;
    make(&services, 4).await;
    assert_eq!(servers.each_ref().map(Server::calls), [2, 2]);
}

#[tokio::test]
async fn no_call_is_lost_while_addresses_come_and_go() {
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    for policy in [ROUND_ROBIN, LEAST_REQUEST, "{}"] {
        let names = Arc::new(Names::default());
        names.lead_to(&servers);
        let services = by_name(&names, policy, Duration::from_millis(1));
        let callers = futures_util::future::join_all((0..16).map(|_| make(&services, 40)));
        let changes = async {
            for without in (0..servers.len()).cycle() {
                names.lead_to(servers.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, server)| server));
                let asked = names.asked();
                while names.asked() < asked + 2 {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            _ = callers => {}
            () = changes => unreachable!(),
        }
        let calls: usize = servers.iter().map(Server::calls).sum();
        assert_eq!(calls, 640, "{policy}");
        assert_eq!(services.states()[0].channel.in_flight, 0);
    }
}

#[tokio::test]
async fn pick_first_stays_where_it_is_while_the_name_leads_there() {
    let servers = [Server::start().await, Server::start().await];
    let names = Arc::new(Names::default());
    names.lead_to(&servers[..1]);
    let services = by_name(&names, "{}", OFTEN);
    make(&services, 1).await;
    names.lead_to(servers.iter().rev());
    let asked = names.asked();
    while names.asked() < asked + 3 {
        tokio::task::yield_now().await;
    }
    make(&services, 3).await;
    assert_eq!(servers.each_ref().map(Server::calls), [4, 0]);

    servers[0].set_open(false);
    let held = tokio::spawn(services.try_reserve(WRITE).unwrap().send(attempt(LONG)));
    while servers[0].calls() == 0 {
        tokio::task::yield_now().await;
    }
    names.lead_to(&servers[1..]);
    while services.states()[0].channel.endpoints.len() > 1 {
        tokio::task::yield_now().await;
    }
    make(&services, 3).await;
    assert_eq!(servers.each_ref().map(Server::calls), [0, 3]);
    servers[0].set_open(true);
    done(held.await.unwrap());
}

#[tokio::test]
async fn a_connection_that_fails_has_the_name_resolved_at_once() {
    let servers = [Server::start().await, Server::start().await];
    let names = Arc::new(Names::default());
    names.lead_to(&servers[..1]);
    let services = by_name(&names, "{}", LONG * 10);
    make(&services, 1).await;
    names.lead_to(&servers[1..]);
    let [dying, living] = servers;
    dying.die();
    let leads_to = |address: SocketAddr| services.states()[0].channel.endpoints[0].address == address.to_string();
    while !leads_to(living.address) {
        drop(timeout(Duration::from_millis(1), reserve(&services)).await);
        tokio::task::yield_now().await;
    }
    make(&services, 1).await;
    assert_eq!(living.calls(), 1);
}

#[tokio::test]
async fn addresses_that_are_known_stay_in_use_while_the_name_is_not() {
    let server = Server::start().await;
    let names = Arc::new(Names::default());
    names.lead_to([&server]);
    let services = by_name(&names, ROUND_ROBIN, OFTEN);
    make(&services, 1).await;
    names.are_unknown();
    let error = || services.states().remove(0).channel.last_error;
    while error().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(error().unwrap(), "the name echo.test cannot be resolved: no such name");
    make(&services, 3).await;
    names.lead_to([&server]);
    while error().is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_fails_calls_at_once_until_it_leads_somewhere() {
    let names = Arc::new(Names::default());
    let services = by_name(&names, "{}", LONG);
    let unsent = reserve(&services).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    let message = "echo (dns:///echo.test:50051): the name echo.test cannot be resolved: no such name";
    assert_eq!(unsent.failure.message(), message);
    assert!(unsent.retry_after.is_some());
    assert_eq!(services.states()[0].channel.connectivity, Connectivity::TransientFailure);

    let server = Server::start().await;
    names.lead_to([&server]);
    until(&services, &[Ready]).await;
    make(&services, 1).await;
}

#[tokio::test]
async fn a_call_that_waits_until_the_service_is_ready_outlasts_a_name_that_leads_nowhere() {
    let names = Arc::new(Names::default());
    let services = by_name(&names, r#"{"methodConfig": [{"name": [{}], "waitForReady": true}]}"#, LONG);
    let server = Server::start().await;
    let (reserved, ()) = tokio::join!(reserve(&services), async {
        while names.asked() < 3 {
            tokio::task::yield_now().await;
        }
        names.lead_to([&server]);
    });
    done(reserved.unwrap().send(attempt(LONG)).await);
}

#[tokio::test]
async fn a_resolver_that_hangs_fails_calls_after_its_time() {
    let names = Arc::new(Names { hangs: true, ..Names::default() });
    let services = by_name(&names, "{}", LONG);
    let unsent = reserve(&services).await.err().unwrap();
    assert!(unsent.failure.message().contains("was not resolved within 200ms"), "{}", unsent.failure);
    assert_eq!(names.asked(), 1);
}

#[tokio::test]
async fn the_system_resolves_names_that_are_configured() {
    let server = Server::start().await;
    let services = services_at(&format!("http://localhost:{}", server.address.port()), "{}", config());
    make(&services, 1).await;
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_socket_in_the_file_system_is_called_as_localhost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let seen = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(super::wire::framed(HI).into(), false).unwrap();
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        stream.send_trailers(trailers).unwrap();
        let authority = request.uri().authority().unwrap().to_string();
        while connection.accept().await.is_some() {}
        authority
    });
    let services = services_at(&format!("unix:{}", path.display()), "{}", config());
    assert_eq!(done(call_over(&services, attempt(LONG)).await), HI);
    assert_eq!(services.states()[0].channel.endpoints[0].address, format!("unix:{}", path.display()));
    drop(services);
    assert_eq!(seen.await.unwrap(), "localhost");
}
