//! The channel of our own programs: any generated client on it, with a stream of responses too.

use prost::Message;
use test_contracts::test::runs::v1::run_service_client::RunServiceClient;
use test_contracts::test::runs::v1::{GetRunRequest, Run, WatchRunRequest};
use tonic::Code;
use transport::channel::connect;

use super::wire::{framed, peer, refusing};

fn run(id: &str) -> Vec<u8> {
    Run { run_id: id.to_owned() }.encode_to_vec()
}

#[tokio::test]
async fn a_unary_call_is_answered() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.answer(stream, &run("r1")).await;
        wire.linger().await;
    });
    let mut client = RunServiceClient::new(connect(&format!("http://{}", address.await)).unwrap());
    let run = client.get_run(GetRunRequest::default()).await.unwrap().into_inner();
    assert_eq!(run.run_id, "r1");
}

#[tokio::test]
async fn a_stream_of_responses_comes_in_as_it_is_sent() {
    let (next, mut wanted) = tokio::sync::mpsc::channel::<()>(1);
    let address = peer(async move |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        for id in ["r1", "r2"] {
            wire.data(stream, &framed(&run(id))).await;
            wanted.recv().await.unwrap();
        }
        wire.trailers(stream, &[("grpc-status", "0")]).await;
        wire.linger().await;
    });
    let mut client = RunServiceClient::new(connect(&format!("http://{}", address.await)).unwrap());
    let mut runs = client.watch_run(WatchRunRequest::default()).await.unwrap().into_inner();
    for id in ["r1", "r2"] {
        assert_eq!(runs.message().await.unwrap().unwrap().run_id, id);
        next.send(()).await.unwrap();
    }
    assert_eq!(runs.message().await.unwrap(), None);
}

#[tokio::test]
async fn bad_details_do_not_bring_the_client_down() {
    for trailers_only in [true, false] {
        let address = peer(async move |mut wire| {
            let stream = wire.request().await;
            let status = [(":status", "200"), ("grpc-status", "5"), ("grpc-status-details-bin", "*no*")];
            if trailers_only {
                wire.trailers(stream, &status).await;
            } else {
                wire.begin(stream).await;
                wire.trailers(stream, &status[1..]).await;
            }
            wire.linger().await;
        });
        let mut client = RunServiceClient::new(connect(&format!("http://{}", address.await)).unwrap());
        let status = client.get_run(GetRunRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_says_so() {
    let address = peer(async |mut wire| {
        let stream = wire.request().await;
        wire.begin(stream).await;
        wire.data(stream, &framed(&run("r1"))).await;
    });
    let mut client = RunServiceClient::new(connect(&format!("http://{}", address.await)).unwrap());
    let mut runs = client.watch_run(WatchRunRequest::default()).await.unwrap().into_inner();
    assert_eq!(runs.message().await.unwrap().unwrap().run_id, "r1");
    assert_eq!(runs.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let (_kept, address) = refusing();
    let mut client = RunServiceClient::new(connect(&format!("http://{address}")).unwrap());
    let status = client.get_run(GetRunRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(&address.to_string()), "{}", status.message());
}
