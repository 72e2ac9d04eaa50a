//! What is said of a call by the stage at which the peer broke it off and by the means it took (semantics.md E6).
//!
//! The whole table: every stage from before the connect to before the trailers, with every way in which a peer, a proxy or
//! a network ends a call there.

use std::time::Duration;

use engine::failure::Code;
use engine::transport::{Outcome, Unsent};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use transport::channel::ChannelConfig;

use super::wire::{
    DATA, HEADERS, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, Wire, framed, peer, peer_with, refusing,
};
use super::{
    HI, LONG, WRITE, ambiguous_as, attempt, call, config, is_ready, not_sent, reserve, reserve_for, services,
    services_with,
};

const REFUSED_STREAM: u32 = 7;

/// What is known of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    NotSent,
    Refused,
    Done,
    Ambiguous,
}
use Class::*;

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The peer has the head of the request; it gave no room for the message.
    Head,
    /// It has the first bytes of the message.
    HalfRequest,
    /// It has the whole request.
    Request,
    /// It has sent the head of its response.
    ResponseHead,
    /// It has sent the first bytes of its message.
    HalfMessage,
    /// It has sent all of its message.
    Message,
}
use Stage::*;

const BEFORE_ALL_IS_SENT: [Stage; 2] = [Head, HalfRequest];
const BEFORE_A_RESPONSE: [Stage; 3] = [Head, HalfRequest, Request];
const IN_THE_RESPONSE: [Stage; 3] = [ResponseHead, HalfMessage, Message];

/// What the peer does there.
#[derive(Clone, Copy, Debug)]
enum Means {
    /// Closes the connection.
    Close,
    /// Resets it.
    Abort,
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code; the last stream that it takes is one before ours. The connection stays open.
    GoAwayBelow(u32),
    /// GOAWAY with this code that takes our stream, and closes the connection.
    GoAwayAndClose(u32),
    /// GOAWAY that takes our stream, which is then answered.
    GoAwayAndAnswer,
    /// Trailers, behind whatever was sent before, with this `grpc-status`.
    Status(i32),
    /// Ends the stream without a status.
    End,
    /// A response of HTTP with this status, as a proxy makes it.
    Http(&'static str),
    /// A frame that HTTP/2 forbids, or bytes that are none.
    Garbage(&'static [u8]),
}
use Means::*;

/// How frames of HTTP/2 can be wrong: DATA on no stream, a frame above the largest size, HEADERS that do not decompress,
/// WINDOW_UPDATE by nothing, and text.
const GARBAGE: [&[u8]; 5] = [
    b"\0\0\x01\0\0\0\0\0\0x",
    b"\xff\xff\xff\0\0\0\0\0\x01",
    b"\0\0\x01\x01\x04\0\0\0\x01\xff",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0",
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
];

/// The codes of RST_STREAM and what gRPC makes of each.
const RESETS: [(u32, Code); 15] = [
    (0, Code::Internal),
    (1, Code::Internal),
    (2, Code::Internal),
    (3, Code::Internal),
    (4, Code::Internal),
    (5, Code::Unknown),
    (6, Code::Internal),
    (REFUSED_STREAM, Code::Unavailable),
    (8, Code::Cancelled),
    (9, Code::Internal),
    (10, Code::Internal),
    (11, Code::ResourceExhausted),
    (12, Code::PermissionDenied),
    (13, Code::Unknown),
    (99, Code::Internal),
];

/// What gRPC makes of an HTTP status without a `grpc-status`.
const HTTP: [(&str, Code); 14] = [
    ("200", Code::Unknown),
    ("204", Code::Unknown),
    ("302", Code::Unknown),
    ("400", Code::Internal),
    ("401", Code::Unauthenticated),
    ("403", Code::PermissionDenied),
    ("404", Code::Unimplemented),
    ("408", Code::Unknown),
    ("429", Code::Unavailable),
    ("500", Code::Unknown),
    ("501", Code::Unknown),
    ("502", Code::Unavailable),
    ("503", Code::Unavailable),
    ("504", Code::Unavailable),
];

/// What a status proves, by its number.
const STATUSES: [Class; 17] = [
    Done, Ambiguous, Ambiguous, Refused, Ambiguous, Refused, Refused, Refused, Ambiguous, Refused, Refused, Refused,
    Refused, Ambiguous, Ambiguous, Ambiguous, Refused,
];

/// Every stage, every means, and what must be said of it.
fn table() -> Vec<(Stage, Means, Class, Code)> {
    let mut table = Vec::new();
    let ends = [Close, Abort].into_iter().chain([0, 2, 11].map(GoAwayAndClose)).chain(GARBAGE.map(Garbage));
    for means in ends {
        table.extend(BEFORE_ALL_IS_SENT.map(|stage| (stage, means, NotSent, Code::Unavailable)));
        table.push((Request, means, Ambiguous, Code::Unavailable));
        table.extend(IN_THE_RESPONSE.map(|stage| (stage, means, Ambiguous, Code::Unavailable)));
    }
    for (reason, code) in RESETS {
        table.extend(BEFORE_ALL_IS_SENT.map(|stage| (stage, Reset(reason), NotSent, code)));
        let whole = if reason == REFUSED_STREAM { NotSent } else { Ambiguous };
        table.push((Request, Reset(reason), whole, code));
        table.extend(IN_THE_RESPONSE.map(|stage| (stage, Reset(reason), Ambiguous, code)));
    }
    for reason in [0, 2, 11] {
        table.extend(BEFORE_A_RESPONSE.map(|stage| (stage, GoAwayBelow(reason), NotSent, Code::Unavailable)));
        // A peer that has answered has taken the request, whatever it says of it.
        table.extend(IN_THE_RESPONSE.map(|stage| (stage, GoAwayBelow(reason), Ambiguous, Code::Unavailable)));
    }
    table.push((Request, GoAwayAndAnswer, Done, Code::Ok));
    for (status, class) in (0..).zip(STATUSES).skip(1) {
        let code = Code::from_i32(status);
        // A unary request without its end is none, unless the peer itself says that it did nothing with it.
        let half = if class == Refused { Refused } else { NotSent };
        table.extend(BEFORE_ALL_IS_SENT.map(|stage| (stage, Status(status), half, code)));
        table.push((Request, Status(status), class, code));
        table.extend(IN_THE_RESPONSE.map(|stage| (stage, Status(status), class, code)));
    }
    table.extend(BEFORE_ALL_IS_SENT.map(|stage| (stage, Status(0), NotSent, Code::Internal)));
    table.extend([Request, ResponseHead, HalfMessage].map(|stage| (stage, Status(0), Ambiguous, Code::Internal)));
    table.push((Message, Status(0), Done, Code::Ok));
    for (status, code) in HTTP {
        table.extend(BEFORE_ALL_IS_SENT.map(|stage| (stage, Http(status), NotSent, code)));
        table.push((Request, Http(status), Ambiguous, code));
    }
    table.extend(IN_THE_RESPONSE.map(|stage| (stage, End, Ambiguous, Code::Unknown)));
    table
}

#[tokio::test]
async fn every_way_to_end_a_call_at_every_stage_says_what_it_proves() {
    for (stage, means, class, code) in table() {
        let window = match stage {
            Head => 0,
            HalfRequest => 7,
            _ => 65_535,
        };
        let room = [(INITIAL_WINDOW_SIZE, window)];
        let address = peer_with(&room, async move |mut wire| {
            // What surely was not taken comes once more by itself.
            while let Some(stream) = reach(&mut wire, stage).await {
                if !act(&mut wire, stream, stage, means).await {
                    return if matches!(means, Abort) { wire.abort() } else { drop(wire) };
                }
            }
        });
        let (seen, said) = match call(address.await).await {
            Outcome::Done(message) => {
                assert_eq!(message, HI);
                (Done, Code::Ok)
            }
            Outcome::NotSent(Unsent { failure, .. }) => (NotSent, failure.code()),
            Outcome::Refused(failure) => (Refused, failure.code()),
            Outcome::Ambiguous { failure, .. } => (Ambiguous, failure.code()),
        };
        assert_eq!((seen, said), (class, code), "{means:?} at {stage:?}");
    }
}

/// Plays until the stage is reached; none where the other side has gone.
async fn reach(wire: &mut Wire, stage: Stage) -> Option<u32> {
    let head = wire.frame().await.filter(|frame| frame.kind == HEADERS)?;
    let stream = head.stream;
    match stage {
        Head => return Some(stream),
        HalfRequest => return wire.frame().await.filter(|frame| frame.kind == DATA).map(|_| stream),
        _ => while wire.frame().await?.flags & 1 == 0 {},
    }
    if stage != Request {
        wire.begin(stream).await;
    }
    match stage {
        HalfMessage => wire.data(stream, &framed(HI)[..7]).await,
        Message => wire.data(stream, &framed(HI)).await,
        _ => {}
    }
    Some(stream)
}

/// Says whether the connection continues.
async fn act(wire: &mut Wire, stream: u32, stage: Stage, means: Means) -> bool {
    match means {
        Close | Abort => return false,
        Reset(reason) => wire.reset(stream, reason).await,
        GoAwayBelow(reason) => wire.go_away_for(stream.saturating_sub(2), reason).await,
        GoAwayAndClose(reason) => {
            wire.go_away_for(stream, reason).await;
            return false;
        }
        GoAwayAndAnswer => {
            wire.go_away(stream).await;
            wire.answer(stream, HI).await;
        }
        Status(code) => {
            let code = code.to_string();
            let begun = usize::from(IN_THE_RESPONSE.contains(&stage));
            wire.trailers(stream, &[(":status", "200"), ("grpc-status", &code)][begun..]).await;
        }
        End => wire.end(stream).await,
        Http(status) => {
            wire.headers(stream, &[(":status", status), ("content-type", "text/html")]).await;
            wire.end(stream).await;
        }
        Garbage(bytes) => wire.raw(bytes).await,
    }
    true
}

/// What a peer does with a connection that is no HTTP/2 yet.
#[derive(Clone, Copy, Debug)]
enum Greeting {
    Refuse,
    Close,
    Abort,
    Silence,
    Say(&'static [u8]),
}

#[tokio::test]
async fn every_way_to_fail_before_a_stream_leaves_the_call_unsent() {
    let half_of_settings = b"\0\0\x06\x04\0\0\0";
    let alert_of_tls = b"\x15\x03\x01\0\x02\x02\x46";
    for greeting in [
        Greeting::Refuse,
        Greeting::Close,
        Greeting::Abort,
        Greeting::Silence,
        Greeting::Say(half_of_settings),
        Greeting::Say(alert_of_tls),
        Greeting::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Greeting::Say(b"SSH-2.0-OpenSSH_9.2\r\n"),
    ] {
        let (socket, address) = refusing();
        let (_kept, listener) = match greeting {
            Greeting::Refuse => (Some(socket), None),
            _ => (None, Some(socket.listen(16).unwrap())),
        };
        let (over, wait) = oneshot::channel::<()>();
        let peer = async {
            let Some(listener) = listener else { return };
            let (mut stream, _) = listener.accept().await.unwrap();
            match greeting {
                Greeting::Abort => stream.set_zero_linger().unwrap(),
                Greeting::Say(bytes) => stream.write_all(bytes).await.unwrap(),
                Greeting::Silence => drop(wait.await),
                Greeting::Refuse | Greeting::Close => {}
            }
        };
        let channel = ChannelConfig { connect_timeout: Duration::from_millis(200), ..config() };
        let services = services_with(address, channel);
        let reserve = async {
            let unsent = reserve(&services).await.err();
            drop(over);
            unsent
        };
        let (unsent, ()) = tokio::join!(reserve, peer);
        let unsent = unsent.unwrap_or_else(|| panic!("connected after {greeting:?}"));
        assert_eq!(unsent.failure.code(), Code::Unavailable, "{greeting:?}: {}", unsent.failure);
        assert!(unsent.failure.message().contains("echo (http://127.0.0.1:"), "{}", unsent.failure);
        assert!(unsent.retry_after.unwrap() <= Duration::from_millis(120), "{greeting:?}");
    }
}

#[tokio::test]
async fn a_peer_that_allows_no_streams_is_waited_for_and_sent_nothing() {
    let address = peer_with(&[(MAX_CONCURRENT_STREAMS, 0)], async |mut wire| wire.linger().await);
    let unsent = reserve_for(&services(address.await), WRITE, Duration::from_millis(60)).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::DeadlineExceeded, "{}", unsent.failure);
}

#[tokio::test]
async fn a_connection_that_ends_between_reserve_and_send_sends_nothing() {
    for go_away in [false, true] {
        let (end, ended) = oneshot::channel::<()>();
        let address = peer(async move |mut wire| {
            tokio::select! {
                () = wire.linger() => {}
                _ = ended => {}
            }
            if go_away {
                wire.go_away(0).await;
                assert!(wire.frame().await.is_none());
            }
        });
        let services = services(address.await);
        let reservation = reserve(&services).await.unwrap();
        end.send(()).unwrap();
        while is_ready(&services) {
            tokio::task::yield_now().await;
        }
        let unsent = not_sent(reservation.send(attempt(LONG)).await);
        assert_eq!(unsent.failure.code(), Code::Unavailable, "after a GOAWAY: {go_away}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_at_any_byte_of_its_message_is_ambiguous() {
    for cut in 1..framed(HI).len() {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            wire.data(stream, &framed(HI)[..cut]).await;
        });
        ambiguous_as(call(address.await).await, Code::Unavailable, "while the response came in");
    }
}
