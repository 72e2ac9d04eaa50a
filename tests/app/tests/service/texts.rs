//! Texts and messages of others: none steers the terminal, passes for a field of ours, or makes its run unreadable.

use engine::failure::Detail;
use engine::transport::Outcome;
use engine::{Code, Failure};
use prost::Message;
use prost_types::Any;
use server::command_line::Exit;
use server::proto::google::rpc;
use server::proto::orchestrator::admin::v1::{CancelRunRequest, GetRunRequest, RunState};

use crate::support::{Services, World, start};

/// Clears the screen, sets a title, rings, goes back on the line, begins a line that looks like ours, and turns the text.
const HOSTILE: &str = "no \x1b[2J\x1b]0;title\x07\rfine\nState      SUCCEEDED\u{9b}31m\u{202e}\u{2028}end";

/// Services that refuse everything in these words, with these details.
fn refusing(message: &'static str, details: Vec<Detail>) -> Services {
    Services::new(move |_, _| {
        Outcome::Refused(Failure::new(Code::FailedPrecondition, message).with_details(details.clone()))
    })
}

fn is_plain(text: &str) {
    let hidden = |char: char| {
        char != '\n'
            && (char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}'))
    };
    assert!(!text.contains(hidden), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("State      SUCCEEDED")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_others_say_steers_the_terminal_or_passes_for_a_field_of_ours() {
    let world = World::start(refusing(HOSTILE, Vec::new())).await;
    let run = world.greet().await.run_id;
    let napping = world.runs().await.start_run(start("test.nap", 0)).await.unwrap().into_inner().run_id;
    let request =
        CancelRunRequest { run_id: napping.clone(), reason: String::from(HOSTILE), ..CancelRunRequest::default() };
    world.runs().await.cancel_run(request).await.unwrap();

    for arguments in [
        &["runs", "show", &run][..],
        &["runs", "show", &napping],
        &["runs", "list"],
        &["runs", "watch", &run],
        &["audit", "list"],
        &["runs", "show", "\x1b[2J\nState      SUCCEEDED"],
        &["runs", "start", "\x1b[2J\u{202e}\nState      SUCCEEDED"],
        &["runs", "bulk", "retry", "--state", "FAILED", "--reason", HOSTILE],
    ] {
        let (_, out, talk) = world.command(arguments).await;
        is_plain(&out);
        is_plain(&talk);
        assert!(!out.is_empty() || !talk.is_empty(), "{arguments:?}");
    }
    for arguments in [&["runs", "show", &run, "--output", "json"][..], &["runs", "list", "--output", "json"]] {
        let (exit, out, _) = world.command(arguments).await;
        assert_eq!(exit, Exit::Ok);
        is_plain(&out);
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        let shown = json.pointer("/error/message").or(json.pointer("/runs/1/error/message")).unwrap();
        assert_eq!(shown, HOSTILE);
    }
}

/// So many packed messages in each other.
fn nested(count: usize) -> Any {
    let innermost = Any { type_url: String::from("type.googleapis.com/google.rpc.Status"), value: Vec::new() };
    (0..count).fold(innermost, |inner, _| Any {
        type_url: String::from("type.googleapis.com/google.protobuf.Any"),
        value: inner.encode_to_vec(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_stays_readable_whatever_a_service_packs_into_its_refusal() {
    let status = rpc::Status { details: vec![nested(8_000), Any::default()], ..Default::default() };
    let far = prost_types::Timestamp { seconds: i64::MAX, nanos: -1 };
    let details = [
        ("google.protobuf.Any", nested(8_000).encode_to_vec()),
        ("google.rpc.Status", status.encode_to_vec()),
        ("google.protobuf.Timestamp", far.encode_to_vec()),
        ("google.rpc.Status", vec![0xff; 100]),
        ("acme.v1.Unknown", vec![1, 2, 3]),
        ("", Vec::new()),
    ];
    let details = details.map(|(name, value)| Detail { type_name: name.to_owned(), value: value.into() });
    let world = World::start(refusing("no", details.into())).await;
    let run = world.greet().await;
    assert_eq!(run.state(), RunState::Failed);
    let request = GetRunRequest { run_id: run.run_id.clone(), ..GetRunRequest::default() };
    let shown = world.runs().await.get_run(request).await.unwrap().into_inner();
    assert_eq!(shown.error.unwrap().details.len(), 6);
    for arguments in [
        &["runs", "show", &run.run_id][..],
        &["runs", "show", &run.run_id, "--output", "json"],
        &["runs", "watch", &run.run_id, "--output", "json"],
        &["runs", "list", "--output", "json"],
    ] {
        let (exit, out, talk) = world.command(arguments).await;
        assert!(matches!(exit, Exit::Ok | Exit::RunFailed), "{exit:?} {talk}");
        assert!(out.contains("FAILED"), "{out} {talk}");
    }
}
