//! Connections that say nothing, say half of something, or take nothing of what they are told.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use server::proto::orchestrator::admin::v1::GetRunRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::meter::{probe, under};
use crate::process::Orchestrator;
use crate::wire::{begin, connect, framed, pour};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_no_probe_and_no_caller_out_and_no_end_waiting() {
    under(Orchestrator::start().await, async |orchestrator| {
        let mut held = Vec::new();
        for (address, count) in [(orchestrator.health, 64), (orchestrator.admin, 256)] {
            for number in 0..count {
                let mut stream = TcpStream::connect(address).await.unwrap();
                // Some of them begin to speak, and say no more.
                if number % 2 == 0 {
                    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
                }
                held.push(stream);
            }
        }
        for _ in 0..8 {
            assert!(probe(orchestrator.health, "liveness").await);
            timeout(Duration::from_secs(3), orchestrator.runs()).await.unwrap();
        }
        held
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_health_keep_no_probe_out() {
    under(Orchestrator::start().await, async |orchestrator| {
        let mut held = Vec::new();
        for _ in 0..64 {
            let (mut send, task) = connect(orchestrator.health, 1 << 16).await;
            let (answer, mut stream) = begin(&mut send, "/grpc.health.v1.Health/Watch").await.unwrap();
            stream.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
            held.push((send, task, answer, stream));
        }
        held
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_take_a_bounded_amount_of_memory() {
    under(Orchestrator::start().await, async |orchestrator| {
        let run_id = orchestrator.large_run(1 << 20).await;
        let request = framed(&GetRunRequest { run_id, ..GetRunRequest::default() });
        let (mut held, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            // The windows are nearly shut: what is answered stays where it is.
            let (mut send, task) = connect(orchestrator.admin, 1).await;
            for _ in 0..500 {
                let Some((answer, mut stream)) = begin(&mut send, "/orchestrator.admin.v1.RunService/GetRun").await
                else {
                    break;
                };
                stream.send_data(request.clone(), true).unwrap();
                held.push((answer, stream));
            }
            connections.push((send, task));
        }
        (held, connections)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_sent_by_half_take_a_bounded_amount_of_memory() {
    under(Orchestrator::start().await, async |orchestrator| {
        let mut half = BytesMut::new();
        half.put_u8(0);
        half.put_u32(2 << 20);
        half.extend_from_slice(&vec![b' '; 1 << 20]);
        let half = half.freeze();
        let (mut held, mut connections) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let (mut send, task) = connect(orchestrator.admin, 1 << 16).await;
            for _ in 0..100 {
                let Some((answer, mut stream)) = begin(&mut send, "/orchestrator.admin.v1.RunService/StartRun").await
                else {
                    break;
                };
                let half = half.clone();
                let poured = tokio::spawn(async move {
                    pour(&mut stream, half).await;
                    std::future::pending::<()>().await;
                });
                held.push((answer, poured));
            }
            connections.push((send, task));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let refused = held.iter_mut().filter_map(|(answer, _)| answer.now_or_never()?.ok());
        let mut count = 0;
        for answer in refused {
            let status = Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
            assert!(status.get_details_retry_info().is_some(), "{status:?}");
            count += 1;
        }
        assert!(count > 100, "only {count} requests were refused");
        (held, connections)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_begin_to_speak_is_closed_after_ten_seconds() {
    let orchestrator = Orchestrator::start().await;
    let mut streams = Vec::new();
    for (address, said) in [(orchestrator.health, ""), (orchestrator.admin, ""), (orchestrator.admin, "PRI * HT")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let begun = Instant::now();
    for mut stream in streams {
        let mut said = Vec::new();
        timeout(Duration::from_secs(15), stream.read_to_end(&mut said)).await.unwrap().ok();
    }
    assert!(begun.elapsed() > Duration::from_secs(8), "{:?}", begun.elapsed());
}
