//! When a channel connects, when it waits, and how it notices that a connection is of no use.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Transport;
use tokio::sync::oneshot;
use transport::channel::{ChannelConfig, Connectivity, KeepAlive};
use transport::{ServiceConfig, Services, ServicesError};

use super::wire::{MAX_CONCURRENT_STREAMS, Wire, framed, listen, peer, peer_with, refusing};
use super::{
    LONG, WRITE, ambiguous_as, attempt, config, done, is_ready, reserve, reserve_for, services, services_with,
};

#[tokio::test]
async fn nothing_is_connected_before_it_is_needed() {
    let (listener, address) = listen().await;
    let services = services(address);
    assert!(services.try_reserve(WRITE).is_none());
    let state = &services.states()[0];
    assert_eq!(state.channel.connectivity, Connectivity::Idle);
    assert!(state.channel.endpoints.is_empty() && state.channel.last_error.is_none());
    assert_eq!((state.name.as_str(), state.address.to_string()), ("echo", format!("http://{address}")));

    tokio::spawn(async move { Wire::accept(&listener, &[]).await.linger().await });
    let reserved = reserve(&services).await.unwrap();
    assert!(is_ready(&services));
    assert_eq!(services.states()[0].channel.in_flight, 1);
    drop(reserved);
    assert_eq!(services.states()[0].channel.in_flight, 0);
    assert!(services.try_reserve(WRITE).is_some());
}

#[tokio::test]
async fn many_who_wait_share_one_connect() {
    let (listener, address) = listen().await;
    let services = services(address);
    let waiting = futures_util::future::join_all((0..16).map(|_| reserve(&services)));
    let (reserved, _wire) = tokio::join!(waiting, async {
        let mut wire = Wire::accept(&listener, &[]).await;
        tokio::spawn(async move { wire.linger().await });
    });
    assert!(reserved.iter().all(Result::is_ok));
    assert!(tokio::time::timeout(Duration::from_millis(10), listener.accept()).await.is_err());
}

#[tokio::test]
async fn a_peer_that_accepts_and_closes_is_not_connected() {
    let (listener, address) = listen().await;
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let unsent = reserve(&services(address)).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_is_not_connected() {
    let (listener, address) = listen().await;
    let config = ChannelConfig { connect_timeout: Duration::from_millis(30), ..config() };
    let unsent = reserve(&services_with(address, config)).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    assert!(unsent.failure.message().contains("not connected within 30ms"), "{}", unsent.failure);
    drop(listener);
}

#[tokio::test]
async fn a_wait_for_a_connection_ends_at_the_deadline() {
    let (listener, address) = listen().await;
    let services = services(address);
    let unsent = reserve_for(&services, WRITE, Duration::from_millis(30)).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::DeadlineExceeded);
    assert!(unsent.failure.message().contains("a connection"), "{}", unsent.failure);
    drop(listener);
}

#[tokio::test]
async fn after_a_failed_connect_nobody_knocks_before_the_pause_is_over() {
    let (socket, address) = refusing();
    let services = services_with(address, ChannelConfig { back_off: Duration::from_millis(40), ..config() });
    let pause = reserve(&services).await.err().unwrap().retry_after.unwrap();
    assert!(pause > Duration::from_millis(20), "{pause:?}");

    // The service comes back, and is still left alone.
    let listener = socket.listen(16).unwrap();
    let again = reserve(&services).await.err().unwrap();
    assert_eq!(again.failure.code(), Code::Unavailable);
    assert!(again.retry_after.unwrap() <= pause);
    assert!(services.states()[0].channel.last_error.as_ref().unwrap().contains("cannot connect"));

    tokio::time::sleep(pause).await;
    tokio::spawn(async move { Wire::accept(&listener, &[]).await.linger().await });
    assert!(reserve(&services).await.is_ok());
    assert!(services.states()[0].channel.last_error.is_none());
}

#[tokio::test]
async fn after_a_go_away_new_calls_take_a_new_connection_while_old_ones_finish() {
    let (listener, address) = listen().await;
    let (second, finish) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut first = Wire::accept(&listener, &[]).await;
        let stream = first.request().await;
        first.go_away(stream).await;
        let mut next = Wire::accept(&listener, &[]).await;
        let on_next = next.request().await;
        next.answer(on_next, b"").await;
        finish.await.unwrap();
        first.answer(stream, b"\x0a\x03old").await;
        tokio::join!(first.linger(), next.linger());
    });
    let services = services(address);
    let old = tokio::spawn(reserve(&services).await.unwrap().send(attempt(LONG)));
    while is_ready(&services) {
        tokio::task::yield_now().await;
    }
    let new = reserve(&services).await.unwrap().send(attempt(LONG)).await;
    assert_eq!(done(new), "");
    second.send(()).unwrap();
    assert_eq!(done(old.await.unwrap()), b"\x0a\x03old".as_slice());
    assert!(is_ready(&services));
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_the_peer_allows() {
    let (go, gone) = oneshot::channel::<()>();
    let address = peer_with(&[(MAX_CONCURRENT_STREAMS, 2)], async |mut wire| {
        tokio::select! {
            () = wire.linger() => {}
            gone = gone => gone.unwrap(),
        }
        let stream = wire.request().await;
        wire.answer(stream, b"").await;
        wire.linger().await;
    });
    let services = services(address.await);
    let first = reserve(&services).await.unwrap();
    let second = services.try_reserve(WRITE).unwrap();
    assert!(services.try_reserve(WRITE).is_none());
    let state = services.states().remove(0).channel;
    assert_eq!((state.in_flight, state.limit), (2, 2));

    let waited = tokio::time::timeout(Duration::from_millis(10), reserve(&services)).await;
    assert!(waited.is_err());
    go.send(()).unwrap();
    done(first.send(attempt(LONG)).await);
    assert!(services.try_reserve(WRITE).is_some());
    drop(second);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_by_its_silence() {
    let address = peer(async |mut wire| {
        wire.request().await;
        wire.awake = false;
        wire.linger().await;
    });
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(20));
    let config = ChannelConfig { keep_alive: KeepAlive { interval, timeout, while_idle: false }, ..config() };
    let services = services_with(address.await, config);
    let outcome = reserve(&services).await.unwrap().send(attempt(LONG)).await;
    ambiguous_as(outcome, Code::Unavailable, "before a response");
    while is_ready(&services) {
        tokio::task::yield_now().await;
    }
    let error = services.states()[0].channel.last_error.clone();
    assert_eq!(error.as_deref(), Some("the peer did not answer a ping within 20ms"));
}

#[tokio::test]
async fn a_slow_peer_that_answers_pings_is_left_alone() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        tokio::select! {
            () = wire.linger() => {}
            () = tokio::time::sleep(Duration::from_millis(150)) => {}
        }
        wire.answer(stream, b"").await;
        wire.linger().await;
    });
    let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(20));
    let config = ChannelConfig { keep_alive: KeepAlive { interval, timeout, while_idle: false }, ..config() };
    let services = services_with(address.await, config);
    done(reserve(&services).await.unwrap().send(attempt(LONG)).await);
}

#[tokio::test]
async fn what_has_no_way_says_what_is_missing() {
    let (_listener, address) = listen().await;
    let services = services(address);
    let reserve = async |path| reserve_for(&services, path, LONG).await.err().unwrap().failure;
    let waits = services.reserve("/test.entries.v1.EntryService/GetEntry", super::RUN, LONG).await.unwrap();
    let engine::transport::Reserved::Down(outage, _) = waits else { panic!("a service without an address is called") };
    assert_eq!((&*outage.service, outage.error.as_str()), ("test.entries.v1.EntryService", "no address is configured"));
    let failure = reserve("/test.entries.v1.EntryService/NoSuch").await;
    assert_eq!(failure.code(), Code::Unimplemented);
    assert!(failure.message().contains("/test.entries.v1.EntryService/NoSuch"), "{failure}");
    assert!(services.try_reserve("/test.entries.v1.EntryService/GetEntry").is_none());
}

#[test]
fn mistakes_in_the_configuration_name_the_service() {
    let config = |name: &str, prefix: &str, address: &str| ServiceConfig {
        name: name.to_owned(),
        prefixes: vec![prefix.to_owned()],
        address: address.to_owned(),
        channel: config(),
        ..ServiceConfig::default()
    };
    let error =
        Services::new(&test_contracts::CONTRACTS, [config("users", "test.entries.v1", "users:50051")]).unwrap_err();
    assert!(matches!(error, ServicesError::Address { .. }));
    assert_eq!(
        error.to_string(),
        "service users: `users:50051` is no address: it begins with no scheme that is known here; expected \
         http://host:port, https://host:port, dns:///host:port, ipv4:address:port, ipv6:[address]:port or unix:/path"
    );
    let twice = [config("a", "test.entries.v1", "http://a:1"), config("b", "test.entries.v1", "http://b:1")];
    let error = Services::new(&test_contracts::CONTRACTS, twice).unwrap_err();
    assert!(error.to_string().starts_with("services a and b both answer for test.entries.v1"), "{error}");
}

#[tokio::test]
async fn a_silence_gets_two_pings_and_each_word_of_the_peer_begins_another() {
    let address = peer(async |mut wire| {
        // Nothing but pings comes, so these reads end by the time they have.
        let silence = async |wire: &mut Wire| {
            let before = wire.pings;
            let _ = tokio::time::timeout(Duration::from_millis(150), wire.frame()).await;
            wire.pings - before
        };
        let stream = wire.request().await;
        let first = silence(&mut wire).await;
        wire.begin(stream).await;
        let second = silence(&mut wire).await;
        wire.data(stream, &framed(&[])).await;
        let third = silence(&mut wire).await;
        assert_eq!([first, second, third], [2, 2, 2]);
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    let keep_alive = KeepAlive { interval: Duration::from_millis(10), timeout: LONG, while_idle: false };
    let services = services_with(address.await, ChannelConfig { keep_alive, ..config() });
    done(reserve(&services).await.unwrap().send(attempt(LONG)).await);
}
