//! Reads beyond measure: callers who leave before the answer, and more watchers than there is room for.

use std::time::Duration;

use futures_util::future::join_all;
use server::proto::orchestrator::admin::v1::run_service_client::RunServiceClient;
use server::proto::orchestrator::admin::v1::{ListRunsRequest, StartRunRequest, WatchRunRequest};
use tonic::Code;
use tonic_types::StatusExt;

use crate::meter::under;
use crate::process::Orchestrator;
use crate::wire::{begin, connect, framed};

/// Runs in a list, all of them on one page.
const RUNS: usize = 800;

const CALLS: usize = 10_000;
const WATCHES: usize = 6_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_for_callers_who_leave_hold_up_nothing() {
    under(Orchestrator::start().await, async |orchestrator| {
        let request = framed(&ListRunsRequest { page_size: 1_000, ..ListRunsRequest::default() });
        let mut sent = 0;
        while sent < CALLS {
            let (mut send, task) = connect(orchestrator.admin, 1 << 16).await;
            for _ in 0..1_000 {
                let Some((answer, mut stream)) = begin(&mut send, "/orchestrator.admin.v1.RunService/ListRuns").await
                else {
                    break;
                };
                stream.send_data(request.clone(), true).unwrap();
                sent += 1;
                // Now and then the rest of the connection leaves with its caller.
                if sent % 300 == 0 {
                    break;
                }
                if sent % 4 == 0 {
                    tokio::task::yield_now().await;
                }
                tokio::spawn(async move {
                    let soon = Duration::from_millis(5);
                    drop(tokio::time::timeout(soon, answer).await);
                });
            }
            task.abort();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_for_callers_who_never_stop_asking_hold_up_nothing() {
    let orchestrator = Orchestrator::start().await;
    let mut client = orchestrator.runs().await;
    for _ in 0..RUNS {
        let workflow = String::from("test.greet");
        client.start_run(StartRunRequest { workflow, ..StartRunRequest::default() }).await.unwrap();
    }
    under(orchestrator, async |orchestrator| {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let client = orchestrator.runs().await;
            for _ in 0..50 {
                let mut client = client.clone();
                callers.spawn(async move {
                    loop {
                        let request = ListRunsRequest { page_size: 1_000, ..ListRunsRequest::default() };
                        match client.list_runs(request).await {
                            Ok(page) => assert!(page.get_ref().runs.len() >= RUNS),
                            // At the end of the process.
                            Err(status) if status.code() != Code::ResourceExhausted => return status,
                            Err(status) => {
                                let retry = status.get_details_retry_info().unwrap().retry_delay.unwrap();
                                tokio::time::sleep(retry).await;
                            }
                        }
                    }
                });
            }
        }
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(callers.try_join_next().is_none(), "a caller got another answer");
        callers
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_beyond_the_bound_are_refused_with_a_time_to_come_back() {
    under(Orchestrator::start().await, async |orchestrator| {
        // It waits for an hour.
        let request = StartRunRequest { workflow: String::from("test.nap"), ..StartRunRequest::default() };
        let mut client = orchestrator.runs().await;
        let run_id = client.start_run(request).await.unwrap().into_inner().run_id;
        let mut held = Vec::new();
        let mut refused = 0;
        for _ in 0..6 {
            let client = RunServiceClient::new(orchestrator.channel().await);
            let watches = (0..WATCHES / 6).map(|_| {
                let (mut client, run_id) = (client.clone(), run_id.clone());
                async move { client.watch_run(WatchRunRequest { run_id, ..WatchRunRequest::default() }).await }
            });
            for watch in join_all(watches).await {
                match watch {
                    Ok(stream) => held.push(stream),
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        assert!(status.get_details_retry_info().is_some(), "{status:?}");
                        refused += 1;
                    }
                }
            }
        }
        assert_eq!(held.len() + refused, WATCHES);
        assert!(refused >= WATCHES - 1_000 - 6, "{refused} of {WATCHES} were refused");
        held
    })
    .await;
}
