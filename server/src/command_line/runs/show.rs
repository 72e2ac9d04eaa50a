//! `orchestrator runs show`.

use crate::proto::orchestrator::admin::v1::{GetRunRequest, PendingSignal, Run, RunView, Step, TickOrigin};
use clap::Args;

use super::super::connection::{Output, Server};
use super::super::exit::CommandError;
use super::super::table::{between, error, facts, payload, table, time};
use super::super::{Terminal, json};
use super::next::next;
use super::step;

#[derive(Debug, Args)]
pub(in super::super) struct Show {
    id: String,
    /// Path of a step, as it stands in the run's list of steps: shows only this step, with everything known of it.
    step: Option<String>,
    /// How many steps to show; those that failed or have not settled come first.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    steps: i32,
    #[command(flatten)]
    server: Server,
}

impl Show {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let (view, step) = (RunView::Full.into(), self.step.unwrap_or_default());
        let of_step = !step.is_empty();
        let request = GetRunRequest { run_id: self.id, view, max_steps: self.steps, step };
        let run = self.server.runs()?.get_run(request).await?.into_inner();
        if of_step && let [step] = &run.steps[..] {
            return match self.server.output {
                Output::Json => terminal.line(&json::pretty(step)?),
                Output::Table => terminal.line(&step::shown(step)),
            };
        }
        match self.server.output {
            Output::Json => terminal.line(&json::pretty(&run)?),
            Output::Table => {
                terminal.line(&facts_of(&run))?;
                if !run.steps.is_empty() {
                    terminal.line(&format!("\n{}", table_of(&run.steps)))?;
                }
                if !run.pending_signals.is_empty() {
                    terminal.line(&format!("\n{}", inbox_of(&run.pending_signals)))?;
                }
                let hidden = usize::try_from(run.step_count).unwrap_or(0).saturating_sub(run.steps.len());
                if hidden > 0 {
                    terminal.talk(&format!("{hidden} more steps with --steps"));
                }
                Ok(())
            }
        }
    }
}

/// What there is to say of a run beside its steps.
pub(super) fn facts_of(run: &Run) -> String {
    let took = between(run.create_time.as_ref(), run.end_time.as_ref());
    let took = if took.is_empty() { took } else { format!(" after {took}") };
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    let schedule = match &run.nominal_time {
        Some(nominal) => {
            let (name, nominal) = (&run.schedule, time(Some(nominal)));
            let late = between(run.nominal_time.as_ref(), run.create_time.as_ref());
            match run.tick_origin() {
                TickOrigin::Trigger => format!("{name}, triggered at {nominal}"),
                TickOrigin::Backfill => format!("{name} at {nominal}, by backfill {}", run.backfill_id),
                TickOrigin::Clock | TickOrigin::Unspecified => format!("{name} at {nominal}, started {late} after it"),
            }
        }
        None => String::new(),
    };
    facts(&[
        ("Run", run.run_id.clone()),
        ("Workflow", format!("{} (version {})", run.workflow, run.workflow_version)),
        ("State", format!("{}{reason}", run.state().as_str_name())),
        ("Child of", run.parent_run_id.clone()),
        ("Schedule", schedule),
        ("Created", time(run.create_time.as_ref())),
        ("Ended", run.end_time.as_ref().map(|end| time(Some(end)) + &took).unwrap_or_default()),
        ("Deadline", if run.end_time.is_none() { time(run.deadline.as_ref()) } else { String::new() }),
        ("Continues", time(run.wake_time.as_ref())),
        ("Cancelled", run.cancel_reason.clone()),
        ("Paused", paused(run)),
        ("Pinned", if run.pinned { String::from("yes") } else { String::new() }),
        ("Expires", time(run.expire_time.as_ref())),
        ("Input", payload(run.input.as_ref())),
        ("Output", payload(run.output.as_ref())),
        ("Error", run.error.as_ref().map(error).unwrap_or_default()),
        ("at step", run.error_step.clone()),
        (if run.end_time.is_some() { "Not undone" } else { "To undo" }, run.steps_to_undo.join(", ")),
        ("In doubt", run.uncertain_steps.join(", ")),
        ("Steps", run.step_count.to_string()),
        ("Next", next(run)),
    ])
}

fn paused(run: &Run) -> String {
    let Some(at) = &run.pause_time else { return String::new() };
    let clock = if run.clock_stopped { ", its clock stands" } else { "" };
    let reason = if run.pause_reason.is_empty() { String::new() } else { format!(" ({})", run.pause_reason) };
    format!("{}{clock}{reason}", time(Some(at)))
}

pub(super) fn table_of(steps: &[Step]) -> String {
    let rows = steps.iter().map(|step| {
        let next = time(step.next_attempt_time.as_ref());
        let next = if next.is_empty() { next } else { format!("next {next} ") };
        [
            step.path.clone(),
            if step.undone { String::from("UNDONE") } else { step.state().as_str_name().to_owned() },
            step.level.clone(),
            if step.attempts == 0 { String::new() } else { step.attempts.to_string() },
            between(step.start_time.as_ref(), step.end_time.as_ref()),
            next + &child_of(step) + &step.error.as_ref().map(error).unwrap_or_default(),
        ]
    });
    table(["step", "state", "level", "attempts", "took", "error"], rows)
}

/// The run that a step is, where it is one.
fn child_of(step: &Step) -> String {
    if step.child_run_id.is_empty() { String::new() } else { format!("run {} ", step.child_run_id) }
}

fn inbox_of(messages: &[PendingSignal]) -> String {
    let rows = messages.iter().map(|message| {
        [message.signal.clone(), time(message.receive_time.as_ref()), payload(message.message.as_ref())]
    });
    table(["signal not received", "came", "message"], rows)
}
