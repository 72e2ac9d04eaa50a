//! What a person does next about a run that does not continue by itself.

use engine::Code;

use crate::proto::orchestrator::admin::v1::{Run, RunState, step};

/// What to do for each reason of a run; `RUN` and `SERVICE` stand for names. docs/errors.md says more.
const NEXT: &[(&str, &str)] = &[
    (
        "AMBIGUOUS_EFFECT",
        "look at the service, then: orchestrator runs resolve RUN STEP --reason WHY, and one of \
      --happened JSON, --failed CODE MESSAGE, --ask-again",
    ),
    ("JOURNAL_MISMATCH", "deploy code that fits the journal, then: orchestrator runs retry RUN"),
    ("POISON", "correct the code, then: orchestrator runs retry RUN"),
    ("PANICKED", "correct the code; the run is tried again by itself"),
    ("USE_A_BRANCH", "put the steps into branches, then: orchestrator runs retry RUN"),
    ("FOREIGN_WAIT", "let the code wait for a step instead, then: orchestrator runs retry RUN"),
    ("SIGNAL_UNDECLARED", "add the signal to SIGNALS of the workflow, then: orchestrator runs retry RUN"),
    ("UNDO_FAILED", "repair the service, then: orchestrator runs retry RUN"),
    ("LIMIT", "raise the limit in the configuration, then: orchestrator runs retry RUN"),
    ("JOURNAL_UNREADABLE", "restore a backup, or: orchestrator runs terminate RUN"),
    ("UNKNOWN_WORKFLOW", "deploy a release that has the workflow, or: orchestrator runs terminate RUN"),
    ("NEWER_VERSION", "deploy the version that created the run; it continues by itself"),
    ("RETRYING", "wait, or: orchestrator runs skip-back-off RUN"),
    ("SERVICE_DOWN", "orchestrator services list; the run continues by itself when the service is up"),
    ("UNDOING", "wait until its steps are undone"),
    ("CHILDREN", "wait until its children have ended, or steer them: orchestrator runs list"),
    ("BEHIND", "wait for the earlier run of its schedule: orchestrator runs list"),
];

/// The next command of somebody who looks at this run; empty if there is nothing to do.
pub(super) fn next(run: &Run) -> String {
    let said = match (run.state(), run.reason.split_once(':')) {
        (RunState::Paused, _) => "orchestrator runs resume RUN",
        (RunState::Failed, _) => match run.error.as_ref().map(|error| Code::from_i32(error.code)) {
            Some(_) if !run.error_step.is_empty() => "orchestrator runs retry RUN, which continues from that step",
            Some(Code::DeadlineExceeded | Code::ResourceExhausted) => "orchestrator runs retry RUN",
            _ => "orchestrator runs retry RUN --from STEP",
        },
        (_, Some((reason, _))) => NEXT.iter().find(|(known, _)| *known == reason).map_or("", |(_, next)| next),
        _ => "",
    };
    let open = run.steps.iter().find(|step| step.state() == step::State::NeedsDecision);
    let said = said.replace("RUN", &run.run_id);
    open.map(|step| said.replace("STEP", &quoted(&step.path))).unwrap_or(said)
}

/// As a shell takes it for one word.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::orchestrator::admin::v1::Step;

    #[test]
    fn every_reason_that_is_documented_names_what_to_do_next() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
        let section = page.split("\n## ").find(|part| part.starts_with("Reasons of runs")).unwrap();
        let reasons =
            section.lines().filter_map(|line| line.split('|').nth(2)?.trim().strip_prefix('`')?.strip_suffix('`'));
        // The code of a run that failed, which is no reason of its own.
        let reasons: Vec<&str> = reasons.filter(|reason| *reason != "DEADLINE_EXCEEDED").collect();
        assert!(reasons.len() > 15, "{reasons:?}");
        for reason in reasons {
            let run = Run { reason: format!("{reason}: so"), ..Run::default() };
            assert!(!next(&run).is_empty(), "{reason}");
        }
    }

    #[test]
    fn a_command_names_the_run_and_its_step() {
        let step = Step {
            path: String::from("item[a'b]/Charge#0"),
            state: step::State::NeedsDecision.into(),
            ..Step::default()
        };
        let (run_id, reason) = (String::from("01a2"), String::from("AMBIGUOUS_EFFECT: so"));
        let run = Run { run_id, reason, steps: vec![step], ..Run::default() };
        let command = r"orchestrator runs resolve 01a2 'item[a'\''b]/Charge#0' --reason WHY";
        assert!(next(&run).contains(command), "{}", next(&run));
        let failed = Run { run_id: String::from("01a2"), state: RunState::Failed.into(), ..Run::default() };
        assert_eq!(next(&failed), "orchestrator runs retry 01a2 --from STEP");
        assert_eq!(next(&Run { state: RunState::Succeeded.into(), ..Run::default() }), "");
    }
}
