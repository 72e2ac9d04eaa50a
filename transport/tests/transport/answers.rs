//! What is said of a call by what the peer answered (semantics.md E6).

use std::time::Duration;

use engine::failure::Code;
use engine::transport::Outcome;
use transport::channel::ChannelConfig;

use super::wire::{framed, peer};
use super::{
    HI, LONG, ambiguous, ambiguous_as, attempt, call, config, done, not_sent, refused, reserve, services_with,
};

#[tokio::test]
async fn an_answer_is_done() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.answer(stream, HI).await;
        wire.linger().await;
    });
    assert_eq!(done(call(address.await).await), HI);
}

#[tokio::test]
async fn an_answer_in_many_pieces_is_done() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        for byte in framed(HI) {
            wire.data(stream, &[byte]).await;
        }
        wire.data(stream, &[]).await;
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    assert_eq!(done(call(address.await).await), HI);
}

#[tokio::test]
async fn a_response_that_is_no_grpc_is_ambiguous() {
    for kind in ["text/html", "application/grpcish", ""] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.headers(stream, &[(":status", "200"), ("content-type", kind)]).await;
            wire.end(stream).await;
            wire.linger().await;
        });
        ambiguous_as(call(address.await).await, Code::Unknown, &format!("`{kind}`"));
    }
}

#[tokio::test]
async fn only_codes_that_say_nothing_was_done_are_refusals() {
    use Code::*;
    let says_nothing_was_done = [
        InvalidArgument,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        Unauthenticated,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
    ];
    for number in 1..=17 {
        for trailers_only in [true, false] {
            let address = peer(async move |mut wire| {
                let stream = wire.request().await;
                let status = number.to_string();
                let status = [(":status", "200"), ("grpc-status", status.as_str()), ("grpc-message", "50%25 off")];
                if trailers_only {
                    wire.trailers(stream, &status).await;
                } else {
                    wire.begin(stream).await;
                    wire.trailers(stream, &status[1..]).await;
                }
                wire.linger().await;
            });
            let outcome = call(address.await).await;
            let code = Code::from_i32(number);
            let failure = if says_nothing_was_done.contains(&code) { refused(outcome) } else { ambiguous(outcome) };
            assert_eq!((failure.code(), failure.message()), (code, "50% off"));
        }
    }
}

#[tokio::test]
async fn a_status_is_believed_whatever_http_says_beside_it() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[(":status", "503"), ("grpc-status", "5")]).await;
        wire.linger().await;
    });
    assert_eq!(refused(call(address.await).await).code(), Code::NotFound);
}

#[tokio::test]
async fn details_and_the_wish_to_wait_come_along() {
    // google.rpc.Status { details: [Any { google.rpc.RetryInfo { retry_delay: 1.5 s } }] }
    const DETAILS: &str = "GjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gE=";
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.trailers(stream, &[(":status", "200"), ("grpc-status", "8"), ("grpc-status-details-bin", DETAILS)]).await;
        wire.linger().await;
    });
    let Outcome::Ambiguous { failure, retry_after } = call(address.await).await else { panic!("expected ambiguous") };
    assert_eq!(failure.details()[0].type_name, "google.rpc.RetryInfo");
    assert_eq!(retry_after, Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn bad_bytes_in_a_status_do_no_harm() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        let status = [("grpc-status", "5"), ("grpc-message", "%f"), ("grpc-status-details-bin", "*no base64*")];
        wire.trailers(stream, &status).await;
        wire.linger().await;
    });
    let failure = refused(call(address.await).await);
    assert_eq!((failure.code(), failure.message(), failure.details()), (Code::NotFound, "%f", &[][..]));
}

#[tokio::test]
async fn ok_without_a_message_is_ambiguous() {
    for trailers_only in [true, false] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            if trailers_only {
                wire.trailers(stream, &[(":status", "200"), ("grpc-status", "0")]).await;
            } else {
                wire.begin(stream).await;
                wire.trailers(stream, &[("grpc-status", "0")]).await;
            }
            wire.linger().await;
        });
        ambiguous_as(call(address.await).await, Code::Internal, "no message");
    }
}

#[tokio::test]
async fn messages_that_we_cannot_take_are_ambiguous() {
    let two = [framed(HI), framed(HI)].concat();
    for (bytes, code, part) in [
        (two, Code::Internal, "more than one message"),
        (b"\x01\0\0\0\x04\x0a\x02hi".to_vec(), Code::Internal, "compressed with ``"),
        (b"\0\x7f\0\0\0".to_vec(), Code::ResourceExhausted, "2130706432 bytes"),
        (framed(b"\x0a\xff"), Code::Internal, "decode"),
    ] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            wire.begin(stream).await;
            wire.data(stream, &bytes).await;
            wire.trailers(stream, &[("grpc-status", "0")]).await;
            wire.linger().await;
        });
        ambiguous_as(call(address.await).await, code, part);
    }
}

#[tokio::test]
async fn a_compressed_answer_is_read_within_the_limit_for_plain_ones() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        let mut framed = framed(&encoder.finish().unwrap());
        framed[0] = 1;
        framed
    };
    let bomb = gzip(&vec![0; 32 << 20]);
    for (bytes, encoding, expected) in [
        (gzip(HI), "gzip", Ok(())),
        (bomb, "gzip", Err((Code::ResourceExhausted, "more than the 4194304 bytes"))),
        (gzip(HI), "deflate", Err((Code::Internal, "`deflate`"))),
    ] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            let head = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-encoding", encoding)];
            wire.headers(stream, &head).await;
            for piece in bytes.chunks(10_000) {
                wire.data(stream, piece).await;
            }
            wire.trailers(stream, &[("grpc-status", "0")]).await;
            wire.linger().await;
        });
        let outcome = call(address.await).await;
        match expected {
            Ok(()) => assert_eq!(done(outcome), HI),
            Err((code, part)) => ambiguous_as(outcome, code, part),
        }
    }
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_not_sent() {
    let address = peer(async |mut wire| assert!(wire.frame().await.is_none()));
    let services = services_with(address.await, ChannelConfig { max_request_bytes: 6, ..config() });
    let unsent = not_sent(reserve(&services).await.unwrap().send(attempt(LONG)).await);
    assert_eq!(unsent.failure.code(), Code::ResourceExhausted);
    assert!(unsent.failure.message().contains("7 bytes, more than the 6 allowed"), "{}", unsent.failure);
}
