//! The one place where stored types become messages of the admin API.

use crate::proto::google::rpc;
use crate::proto::orchestrator::admin::v1::{
    self, AuditEntry, CountRunsResponse, FailedAttempt, PendingSignal, RetriedStep, Run, RunCount, RunState, Signal,
    Step, Workflow, WorkflowSchedule, step,
};
use bytes::Bytes;
use engine::engine::{Ended, Engine, RepeatedStep, StrandedRuns};
use engine::failure::Failure;
use engine::rpc::Level;
use engine::schedule::{Rule, Timetable};
use engine::signal::SignalType;
use engine::state::State;
use engine::store::{self, Message, RunRow, ScheduleRow, Status};
use engine::time::Timestamp;
use engine::view::{self, Detail, StepKind, StepState, StepView, path};
use engine::workflow::Definition;
use transport::methods::MethodEntry;

use crate::descriptors;

mod bounds;
pub(super) mod schedules;
pub(super) mod services;

use bounds::Room;

/// Bytes of an answer that are for details of the failed attempts of a step.
const FAILED_ATTEMPTS_BYTES: usize = 128 << 10;

/// The messages that a workflow takes and gives, by full name; none where this replica does not know the workflow.
pub(super) type Types<'a> = Option<&'a Definition>;

/// When a run continues by itself. One that waits for an operator does not: its deadline is no such time.
fn goes_on_at(status: &Status) -> Option<Timestamp> {
    status.wake_at.filter(|_| !matches!(status.state, State::Blocked | State::NeedsDecision | State::Paused))
}

/// A run as its row says, and as this engine can continue with it.
pub(super) fn run(row: RunRow, engine: &Engine) -> Run {
    let expire_time = engine.retention().expiry(&row).map(time);
    let stranded = engine.stranded(&row);
    let wake_time = goes_on_at(&row.status).map(time);
    let by = row.origin.as_ref().and_then(|origin| origin.by).map(schedules::origin);
    let (tick_origin, backfill_id) = by.unwrap_or_default();
    let (schedule, nominal_time) =
        row.origin.map_or_else(Default::default, |origin| (origin.schedule, Some(time(origin.nominal))));
    Run {
        run_id: row.id.to_string(),
        workflow: row.workflow,
        workflow_version: signed(row.workflow_version),
        state: run_state(row.status.state).into(),
        reason: stranded.unwrap_or(row.status.reason),
        ending_as: row.status.ending_as.map_or(RunState::Unspecified, run_state).into(),
        create_time: Some(time(row.created_at)),
        update_time: Some(time(row.updated_at)),
        end_time: row.ended_at.map(time),
        deadline: Some(time(row.deadline)),
        wake_time,
        schedule,
        nominal_time,
        tick_origin: tick_origin.into(),
        backfill_id,
        error: row.status.error.map(|(code, message)| rpc::Status { code, message, details: Vec::new() }),
        step_count: signed(row.status.steps),
        epoch: i64::try_from(row.epoch).unwrap_or(i64::MAX),
        parent_run_id: row.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        cancel_reason: row.cancel_requested.unwrap_or_default(),
        pause_time: row.paused.as_ref().map(|paused| time(paused.at)),
        clock_stopped: row.paused.as_ref().is_some_and(|paused| paused.stops_clock),
        pause_reason: row.paused.map(|paused| paused.reason).unwrap_or_default(),
        pinned: row.pinned,
        expire_time,
        ..Run::default()
    }
}

/// A run in a list, where none of its texts is long.
pub(super) fn listed(row: RunRow, engine: &Engine) -> Run {
    let mut run = run(row, engine);
    bounds::shorten(&mut run);
    run
}

/// A run that has just ended: without its steps.
pub(super) fn ended(ended: &Ended, types: Types<'_>, engine: &Engine) -> Run {
    let mut run = run(ended.row.clone(), engine);
    let mut room = Room::default();
    let output = payload(types.map(|types| types.output_type.as_str()), ended.output.as_ref(), &mut room);
    run.output = output;
    set_failure(&mut run, ended.failure.as_ref(), &mut room);
    run.payloads_omitted = room.is_short();
    run
}

/// A run with everything, and one of its steps, with its failed attempts; none where it has no such step.
pub(super) fn with_step(mut detail: Detail, types: Types<'_>, engine: &Engine, path: &str) -> Option<Run> {
    detail.steps.retain(|step| step.path() == path);
    let failed = std::mem::take(&mut detail.steps.first_mut()?.failed);
    let mut run = detailed(detail, types, engine, 1);
    let mut room = Room::of(FAILED_ATTEMPTS_BYTES);
    run.steps.first_mut()?.failed_attempts = failed.iter().map(|failed| failed_attempt(failed, &mut room)).collect();
    Some(run)
}

/// A step without its payloads.
pub(super) fn step_in_list(view: StepView) -> Step {
    let omits = view.request.is_some() || view.response.is_some();
    let bare = StepView { request: None, response: None, ..view };
    Step { payloads_omitted: omits, ..step(bare, &mut Room::of(FAILED_ATTEMPTS_BYTES)) }
}

/// A step with its failed attempts, and its payloads as far as they fit, or whatever their size.
pub(super) fn step_alone(mut view: StepView, any_size: bool) -> Step {
    let failed = std::mem::take(&mut view.failed);
    let mut room = if any_size { Room::of(usize::MAX) } else { Room::default() };
    let mut step = step(view, &mut room);
    let mut room = Room::of(FAILED_ATTEMPTS_BYTES);
    step.failed_attempts = failed.iter().map(|failed| failed_attempt(failed, &mut room)).collect();
    step
}

fn failed_attempt(failed: &view::FailedAttempt, room: &mut Room) -> FailedAttempt {
    FailedAttempt {
        attempt: signed(failed.attempt),
        end_time: Some(time(failed.at)),
        error: Some(error(&failed.failure, room)),
    }
}

/// A run with everything, and at most `max_steps` of its steps.
pub(super) fn detailed(detail: Detail, types: Types<'_>, engine: &Engine, max_steps: usize) -> Run {
    let mut run = run(detail.row, engine);
    let mut room = Room::default();
    set_failure(&mut run, detail.failure.as_ref(), &mut room);
    run.steps_to_undo = room.list(detail.to_undo);
    run.uncertain_steps = room.list(detail.uncertain);
    // Their payloads come last and take what is left: without the steps themselves a reader does not know what a run does.
    let signals = detail.inbox.into_iter().filter(|message| message.name != Message::CHILD_ENDED);
    let signals = room.list(signals.collect());
    let steps = bounds::fitting(chosen(detail.steps, max_steps), &mut room, chosen);
    run.input = payload(Some(&detail.input_type), Some(&detail.input), &mut room);
    run.output = payload(types.map(|types| types.output_type.as_str()), detail.output.as_ref(), &mut room);
    run.payloads_omitted = room.is_short();
    run.pending_signals = signals.iter().map(|message| pending_signal(message, types, &mut room)).collect();
    run.steps = steps.into_iter().map(|view| step(view, &mut room)).collect();
    run
}

fn set_failure(run: &mut Run, failure: Option<&Failure>, room: &mut Room) {
    if let Some(failure) = failure {
        run.error = Some(error(failure, room));
        run.error_step = failure.step().map(|step| path(&step.branch, &step.name, step.position)).unwrap_or_default();
    }
}

/// The steps that say most: those that failed or have not settled, then the latest; in their order.
fn chosen(steps: Vec<StepView>, most: usize) -> Vec<StepView> {
    if steps.len() <= most {
        return steps;
    }
    let mut ranked: Vec<(bool, usize)> =
        steps.iter().enumerate().map(|(at, view)| (view.state == StepState::Succeeded, usize::MAX - at)).collect();
    ranked.sort_unstable();
    let mut keep = vec![false; steps.len()];
    ranked.iter().take(most).for_each(|(_, at)| keep[usize::MAX - at] = true);
    steps.into_iter().zip(keep).filter_map(|(view, keep)| keep.then_some(view)).collect()
}

fn step(view: StepView, room: &mut Room) -> Step {
    let path = view.path();
    let method = if view.kind == StepKind::Call { crate::installed::find(&view.name) } else { None };
    let size = view.request.as_ref().map_or(0, Bytes::len) + view.response.as_ref().map_or(0, Bytes::len);
    let fits = room.take(size);
    let types = method.filter(|_| fits).and_then(message_types);
    let (request_type, response_type) = types.unzip();
    let response_type = response_type.or_else(|| view.message_type.filter(|_| fits));
    Step {
        path,
        kind: match view.kind {
            StepKind::Call => step::Kind::Call,
            StepKind::Sleep => step::Kind::Sleep,
            StepKind::Record => step::Kind::Record,
            StepKind::FanOut => step::Kind::FanOut,
            StepKind::Branch => step::Kind::Branch,
            StepKind::Race => step::Kind::Race,
            StepKind::Signal => step::Kind::Signal,
            StepKind::Child => step::Kind::Child,
        }
        .into(),
        state: match view.state {
            StepState::InFlight => step::State::InFlight,
            StepState::BackingOff => step::State::BackingOff,
            StepState::Succeeded => step::State::Succeeded,
            StepState::Failed => step::State::Failed,
            StepState::Waiting => step::State::Waiting,
            StepState::NeedsDecision => step::State::NeedsDecision,
            StepState::Withdrawn => step::State::Withdrawn,
            StepState::Expired => step::State::Expired,
        }
        .into(),
        method: if view.kind == StepKind::Call { view.name } else { String::new() },
        level: view.level.map(level).unwrap_or_default().to_owned(),
        attempts: signed(view.attempts),
        start_time: Some(time(view.started_at)),
        end_time: view.ended_at.map(time),
        next_attempt_time: view.next_attempt_at.map(time),
        idempotency_key: view.key.unwrap_or_default(),
        request: unbounded(request_type.as_deref(), view.request.as_ref()),
        response: unbounded(response_type.as_deref(), view.response.as_ref()),
        error: view.failure.as_ref().map(|failure| error(failure, room)),
        repeated_send: view.repeated,
        payloads_omitted: !fits,
        child_run_id: view.child.map(|child| child.to_string()).unwrap_or_default(),
        incarnation: signed(view.incarnation),
        undoes: view.undoes.unwrap_or_default(),
        undone: view.undone,
        failed_attempts: Vec::new(),
    }
}

/// Full names of a method's request and of what its step keeps as the response.
pub(super) fn message_types(entry: &MethodEntry) -> Option<(String, String)> {
    let service = descriptors::service(entry.method.service)?;
    let method = service.methods().find(|known| known.name() == entry.method.name)?;
    let output = entry.collected.map_or_else(|| method.output().full_name().to_owned(), str::to_owned);
    Some((method.input().full_name().to_owned(), output))
}

/// A payload, where there is room for it.
fn payload(type_name: Option<&str>, value: Option<&Bytes>, room: &mut Room) -> Option<prost_types::Any> {
    let value = value.filter(|value| room.take(value.len()))?;
    unbounded(type_name, Some(value))
}

/// A payload whose room was taken.
fn unbounded(type_name: Option<&str>, value: Option<&Bytes>) -> Option<prost_types::Any> {
    Some(descriptors::redacted(type_name?, value?))
}

/// A failure with as many of its details as there is room for.
fn error(failure: &Failure, room: &mut Room) -> rpc::Status {
    let details = failure.details().iter().filter(|detail| room.take(detail.type_name.len() + detail.value.len()));
    let details = details.map(|detail| descriptors::redacted(&detail.type_name, &detail.value)).collect();
    let message = bounds::error_message(failure.message());
    rpc::Status { code: failure.code() as i32, message, details }
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::NoSideEffects => "NO_SIDE_EFFECTS",
        Level::Idempotent => "IDEMPOTENT",
        Level::Keyed { .. } => "KEYED",
        Level::Unknown => "UNKNOWN",
    }
}

fn run_state(state: State) -> RunState {
    RunState::from_str_name(state.name()).unwrap_or(RunState::Unspecified)
}

/// A workflow with the schedules that start it.
pub(super) fn workflow(definition: &Definition, schedules: &[ScheduleRow], now: Timestamp) -> Workflow {
    Workflow {
        workflow: definition.name.to_owned(),
        version: signed(definition.version),
        description: definition.description.to_owned(),
        input_type: definition.input_type.clone(),
        output_type: definition.output_type.clone(),
        signals: definition.signals.iter().map(signal).collect(),
        input_example_json: descriptors::example_json(&definition.input_type).unwrap_or_default(),
        descriptors: None,
        schedules: schedules
            .iter()
            .filter(|row| row.schedule.workflow == definition.name)
            .map(|row| schedule(row, now))
            .collect(),
        default_deadline: prost_types::Duration::try_from(definition.deadline).ok(),
    }
}

/// Runs that cannot continue here.
pub(super) fn stranded_runs(stranded: StrandedRuns) -> v1::StrandedRuns {
    v1::StrandedRuns {
        workflow: stranded.workflow,
        workflow_version: signed(stranded.version),
        run_count: i64::try_from(stranded.runs).unwrap_or(i64::MAX),
        reason: stranded.reason,
    }
}

fn signal(signal: &SignalType) -> Signal {
    Signal {
        signal: signal.name().to_owned(),
        message_type: signal.type_name(),
        message_example_json: descriptors::example_json(&signal.type_name()).unwrap_or_default(),
    }
}

fn pending_signal(message: &Message, types: Types<'_>, room: &mut Room) -> PendingSignal {
    let fits = room.take(message.payload.len());
    let signal = types.filter(|_| fits).and_then(|types| types.signal(&message.name));
    PendingSignal {
        signal: message.name.clone(),
        receive_time: Some(time(message.received_at)),
        message: unbounded(signal.map(SignalType::type_name).as_deref(), Some(&message.payload)),
    }
}

fn schedule(row: &ScheduleRow, now: Timestamp) -> WorkflowSchedule {
    let interval = match &row.schedule.spec.rules[..] {
        [Rule::Every { interval, .. }] => prost_types::Duration::try_from(*interval).ok(),
        _ => None,
    };
    let next = Timetable::new(row.schedule.spec.clone()).ok().and_then(|timetable| timetable.next(now));
    WorkflowSchedule {
        schedule: row.schedule.name.clone(),
        interval,
        next_time: next.map(|next| time(next.at)),
        last_time: row.facts.last_nominal.map(time),
        last_run_id: row.facts.last_run.map(|run| run.to_string()).unwrap_or_default(),
    }
}

/// A step that a retry makes again.
pub(super) fn retried(again: RepeatedStep) -> RetriedStep {
    RetriedStep {
        path: again.path,
        method: if again.level.is_some() { again.name } else { String::new() },
        level: again.level.map(level).unwrap_or_default().to_owned(),
        has_side_effects: again.level.is_some_and(Level::has_effects),
        new_key: again.new_key,
    }
}

/// A change as it was made.
/// Counts, and their sum.
pub(super) fn counts(counts: Vec<store::RunCount>) -> CountRunsResponse {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let total_count = number(counts.iter().map(|count| count.runs).sum());
    let counts = counts.into_iter().map(|count| RunCount {
        workflow: count.workflow,
        state: run_state(count.state).into(),
        run_count: number(count.runs),
    });
    CountRunsResponse { run_counts: counts.collect(), total_count }
}

pub(super) fn audit_entry(entry: store::AuditEntry) -> AuditEntry {
    AuditEntry {
        entry_number: i64::try_from(entry.number).unwrap_or(i64::MAX),
        create_time: Some(time(entry.at)),
        caller: entry.caller,
        method: entry.action,
        run_id: if entry.run.is_nil() { String::new() } else { entry.run.to_string() },
        workflow: entry.workflow,
        schedule: entry.schedule.unwrap_or_default(),
        reason: entry.reason,
        detail: entry.detail,
        request_id: entry.request.map(|id| id.to_string()).unwrap_or_default(),
        claimed_caller: entry.said,
        refused_count: i64::try_from(entry.refusals).unwrap_or(i64::MAX),
    }
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = at.parts();
    prost_types::Timestamp { seconds, nanos }
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use engine::rpc::Rpc;
    use prost::Message;
    use test_contracts::app::acme::journal::v1::{
        Entry, StreamEntriesCollected, StreamEntriesRequest, StreamEntriesResponse,
    };

    use super::*;

    #[test]
    fn a_collected_stream_is_shown_as_the_list_it_is_without_what_is_marked() {
        let entry = |content: &str| {
            let (entry_id, content) = ("e1".to_owned(), content.to_owned());
            StreamEntriesResponse { entry: Some(Entry { entry_id, content }) }
        };
        let (_, stored_as) = message_types(crate::installed::find(StreamEntriesRequest::METHOD.path).unwrap()).unwrap();
        let stored = StreamEntriesCollected { responses: vec![entry("secret")] }.encode_to_vec();
        let response = unbounded(Some(&stored_as), Some(&stored.into())).unwrap();
        assert_eq!(response.type_url, "type.googleapis.com/acme.journal.v1.StreamEntriesCollected");
        let shown = StreamEntriesCollected::decode(response.value.as_slice()).unwrap();
        assert_eq!(shown.responses, [entry("")]);
        let json = descriptors::to_json(&response).unwrap();
        assert_eq!(json, serde_json::json!({"responses": [{"entry": {"entryId": "e1"}}]}));
    }
}
