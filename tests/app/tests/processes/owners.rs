//! Two processes and one store.

use std::process::Stdio;
use std::time::Duration;

use crate::process::Orchestrator;
use crate::world::World;

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_and_the_first_goes_on() {
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;

    let elsewhere = ["--admin-listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"];
    let mut second = orchestrator.command(&elsewhere);
    let second = second.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for word in ["error: ", "orchestrator.db", "another process has it open", "orchestrator.db.lock"] {
        assert!(last.contains(word), "{word:?} is missing: {said}");
    }
    assert_eq!(last.matches("orchestrator.db:").count(), 1, "the path is told twice: {last}");

    orchestrator.ready().await;
    orchestrator.stop(Duration::from_secs(30)).await;
    // The lock went with the process: nothing is left to be removed by hand.
    orchestrator.start(&[]).await;
    orchestrator.kill().await;
    orchestrator.start(&[]).await;
}
