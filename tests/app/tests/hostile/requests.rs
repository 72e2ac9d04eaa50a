//! Requests that cannot be read, or are too deep to be: each is refused, and the process continues.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_types::Any;
use server::proto::orchestrator::admin::v1::start_run_request::InputForm;
use server::proto::orchestrator::admin::v1::{DeleteRunRequest, SignalRunRequest, StartRunRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::meter::under;
use crate::process::Orchestrator;
use crate::wire::{begin, connect, framed};

/// What is answered to these bytes; they are the whole request.
async fn answer(orchestrator: &Orchestrator, path: &str, bytes: Bytes) -> Status {
    let (mut send, task) = connect(orchestrator.admin, 1 << 16).await;
    let (answer, mut stream) = begin(&mut send, path).await.unwrap();
    stream.send_data(bytes, true).unwrap();
    let answer = answer.await.unwrap();
    task.abort();
    Status::from_header_map(answer.headers()).unwrap_or_else(|| panic!("{path} took it"))
}

/// So many messages in each other: a field of bytes that is a message to whoever looks.
fn nested(count: usize) -> Vec<u8> {
    (0..count).fold(Vec::new(), |value, _| {
        Any { type_url: String::from("type.googleapis.com/google.protobuf.Any"), value }.encode_to_vec()
    })
}

/// So many groups in each other, of a field that no one knows.
fn groups(count: usize) -> Vec<u8> {
    [[0xfb_u8, 0x07].repeat(count), [0xfc_u8, 0x07].repeat(count)].concat()
}

fn raw(bytes: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(bytes.len()).unwrap());
    frame.extend_from_slice(bytes);
    frame.freeze()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_run_is_left_in_the_files_of_a_store_after_it_was_deleted() {
    let mut orchestrator = Orchestrator::start().await;
    let found = |orchestrator: &Orchestrator| {
        let files = orchestrator.stored();
        files.iter().map(|file| file.windows(12).filter(|part| *part == [b'x'; 12]).count()).sum::<usize>()
    };
    let mut runs = Vec::new();
    for bytes in [100, 3_000, 200_000] {
        runs.push(orchestrator.large_run(bytes).await);
    }
    assert!(found(&orchestrator) > 0);
    for run_id in runs {
        let request = DeleteRunRequest { run_id, ..DeleteRunRequest::default() };
        orchestrator.runs().await.delete_run(request).await.unwrap();
    }
    orchestrator.stop().await;
    assert_eq!(found(&orchestrator), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_ends_the_process_however_deep_or_broken_it_is() {
    under(Orchestrator::start().await, async |orchestrator| {
        let start = "/orchestrator.admin.v1.RunService/StartRun";
        let json = |json: String| StartRunRequest {
            workflow: String::from("test.greet"),
            input_form: Some(InputForm::InputJson(json)),
            ..StartRunRequest::default()
        };
        let packed = |name: &str, value: Vec<u8>| StartRunRequest {
            workflow: String::from("test.greet"),
            input_form: Some(InputForm::Input(Any { type_url: format!("type.googleapis.com/{name}"), value })),
            ..StartRunRequest::default()
        };
        let input = "acme.orchestration.greetings.v1.GreetRequest";
        let requests = [
            framed(&json("[".repeat(1 << 20))),
            framed(&json("{\"userId\":".repeat(100_000))),
            framed(&json(String::from("{\"userId\": \"a\", \"userId\": \"b\"}"))),
            framed(&packed("google.protobuf.Any", nested(8_000))),
            framed(&packed(input, groups(100_000))),
            raw(&groups(100_000)),
            raw(&[0xff; 1_000]),
            raw(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            Bytes::from_static(&[0, 0, 0, 0, 9, 1]),
            Bytes::from_static(&[1, 0, 0, 0, 0]),
            Bytes::new(),
        ];
        for (number, request) in requests.into_iter().enumerate() {
            let status = answer(orchestrator, start, request).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{number}: {status:?}");
            assert!(status.get_details_error_info().is_some(), "{number}: {status:?}");
        }
        let large = answer(orchestrator, start, Bytes::from_static(&[0, 0x7f, 0xff, 0xff, 0xff])).await;
        assert_eq!(large.code(), Code::ResourceExhausted, "{large:?}");
        assert!(large.get_details_error_info().is_some(), "{large:?}");
        let signal =
            SignalRunRequest { signal: "s".repeat(1 << 20), run_id: "r".repeat(1 << 20), ..Default::default() };
        let status = answer(orchestrator, "/orchestrator.admin.v1.RunService/SignalRun", framed(&signal)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().len() < 2_000, "{}", status.message());
    })
    .await;
}
