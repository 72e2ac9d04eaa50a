//! The cases that kill and restart an orchestrator, in small: they come to their end, and nothing is done twice.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Command;

use serde_json::Value;

/// The figures of a case, each an object.
fn figures(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output = command.args(arguments).args(["--json", "--rounds", "1", "--seconds", "1"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn named<'f>(figures: &'f [Value], name: &str) -> Vec<&'f Value> {
    let found: Vec<_> = figures.iter().filter(|figure| figure["name"] == name).collect();
    assert!(!found.is_empty(), "no figure {name:?} in {figures:?}");
    found
}

fn are_met(figures: &[Value], name: &str) {
    for figure in named(figures, name) {
        assert_eq!(figure["met"], true, "{figure}");
    }
}

#[test]
fn runs_that_sleep_wake_and_are_small() {
    let figures = figures(&["sleepers", "--sleepers", "200"]);
    are_met(&figures, "disk for each");
    assert!(named(&figures, "200 due when started: last call")[0]["value"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_kill_with_calls_in_flight_repeats_those_and_doubles_nothing() {
    let figures = figures(&["recovery", "--runs", "100", "--log-megabytes", "40"]);
    are_met(&figures, "calls sent again");
    are_met(&figures, "effects doubled");
}

#[test]
fn a_kill_in_the_middle_of_a_fan_out_repeats_nothing_that_was_done() {
    let figures = figures(&["fanout", "--branches", "200"]);
    are_met(&figures, "done ones sent again");
    are_met(&figures, "effects doubled");
}

#[test]
fn old_runs_are_removed_while_others_go_on() {
    let figures = figures(&["history", "--ended-runs", "3000"]);
    assert!(named(&figures, "runs removed meanwhile")[0]["value"].as_f64().unwrap() > 0.0);
}
