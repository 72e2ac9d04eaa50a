//! A backup is taken from a pod that runs, restored, and started.

use crate::pod::Pod;

const START: [&str; 3] = ["runs", "start", "notifications.send-due"];

/// The ids of all runs.
fn runs(pod: &Pod) -> Vec<String> {
    let listed = String::from_utf8(pod.exec(&["runs", "list"]).stdout).unwrap();
    listed.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Starts it on a restored store, as docs/kubernetes.md says.
fn adopted(store: &std::path::Path) -> Pod {
    Pod::start_with(store, &[(String::from("ORCHESTRATOR_ADOPT"), String::from("true"))])
}

#[test]
fn a_backup_of_a_running_orchestrator_has_all_that_was_acknowledged_before_and_starts() {
    let volume = tempfile::tempdir().unwrap();
    let original = Pod::start(&volume.path().join("orchestrator.db"));
    original.exec(&START);
    let before = runs(&original);
    let copy = volume.path().join("backup.db");
    let told = original.exec(&["store", "backup", copy.to_str().unwrap()]);
    assert!(String::from_utf8(told.stderr).unwrap().contains("SHA-256"));
    original.exec(&START);
    assert_eq!(runs(&original).len(), 1 + before.len(), "the original continues");
    let (ended, log) = original.end();
    assert_eq!(ended.code(), Some(0), "{log:?}");

    let restored = adopted(&copy);
    assert_eq!(runs(&restored), before);
    restored.exec(&START);
    assert_eq!(restored.end().0.code(), Some(0));
}

#[test]
fn a_backup_to_stdout_is_the_whole_file_and_leaves_nothing_behind() {
    let volume = tempfile::tempdir().unwrap();
    let original = Pod::start(&volume.path().join("orchestrator.db"));
    original.exec(&START);
    let before = runs(&original);
    let streamed = original.exec(&["store", "backup", "-"]);
    let left = std::fs::read_dir(volume.path())
        .unwrap()
        .filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().contains("backup"));
    assert_eq!(left.count(), 0);
    assert_eq!(original.end().0.code(), Some(0));
    let told = String::from_utf8(streamed.stderr).unwrap();
    assert!(told.contains(&format!("{} bytes", streamed.stdout.len())), "{told}");

    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("orchestrator.db");
    std::fs::write(&copy, streamed.stdout).unwrap();
    assert_eq!(runs(&adopted(&copy)), before);
}
