//! Schedules, their ticks and their backfills, as the admin API shows them.

use engine::schedule::{
    CatchUpMode, DstGap, DstOverlap, Nominal, Overlap, Policy, Rule, Spec, Timetable, Zone, database_version,
};
use engine::store::{BackfillRow, ScheduleRow, Source, TickOrigin, TickOutcome, TickRow};
use engine::time::Timestamp;
use engine::workflow::Registry;

use super::{time, unbounded};
use crate::proto::orchestrator::admin::v1;

/// A schedule with its next times.
pub(in super::super) fn schedule(row: ScheduleRow, workflows: &Registry, now: Timestamp, next: usize) -> v1::Schedule {
    let ScheduleRow { schedule, facts, .. } = row;
    let timetable = Timetable::new(schedule.spec.clone()).ok();
    let next_times = timetable.as_ref().filter(|_| row.retired_at.is_none()).map(|timetable| {
        timetable.following(now).take(next).map(|nominal| preview_time(nominal, timetable.zone())).collect()
    });
    let input_type = workflows.get(&schedule.workflow).map(|workflow| workflow.input_type.as_str());
    v1::Schedule {
        schedule: schedule.name,
        workflow: schedule.workflow,
        input_form: unbounded(input_type, Some(&schedule.input)).map(v1::schedule::InputForm::Input),
        spec: Some(spec(&schedule.spec)),
        policy: Some(policy(&schedule.policy)),
        etag: row.generation.to_string(),
        source: match row.source {
            Source::Api => v1::ScheduleSource::Api,
            Source::Code => v1::ScheduleSource::Code,
            Source::Configuration => v1::ScheduleSource::Configuration,
        }
        .into(),
        create_time: Some(time(row.created_at)),
        update_time: Some(time(row.updated_at)),
        pause: row.paused.map(|paused| v1::SchedulePause {
            time: Some(time(paused.at)),
            caller: paused.by,
            note: paused.note,
        }),
        retire_time: row.retired_at.map(time),
        next_times: next_times.unwrap_or_default(),
        last_time: facts.last_nominal.map(time),
        last_run_id: facts.last_run.map(|run| run.to_string()).unwrap_or_default(),
        lateness: facts.lateness.and_then(|micros| std::time::Duration::from_micros(micros).try_into().ok()),
        last_success_time: facts.last_success.map(time),
        last_success_nominal_time: facts.last_success_nominal.map(time),
        consecutive_skips: long(facts.consecutive_skips),
        consecutive_failures: long(facts.consecutive_failures),
        missed_count: long(facts.missed),
        last_missed_time: facts.last_missed.map(time),
        started_count: long(facts.started),
        buffered_count: super::signed(facts.buffered),
        problem: facts.problem,
        open_run_ids: row.open.iter().map(ToString::to_string).collect(),
        backfill_count: super::signed(row.backfilling),
    }
}

pub(in super::super) fn spec(spec: &Spec) -> v1::ScheduleSpec {
    v1::ScheduleSpec {
        rules: spec.rules.iter().map(rule).collect(),
        exclude_dates: spec.exclude.dates.iter().map(ToString::to_string).collect(),
        exclude_crons: spec.exclude.patterns.clone(),
        start_time: spec.start.map(time),
        end_time: spec.end.map(time),
        time_zone: spec.zone.clone(),
        jitter: (!spec.jitter.is_zero()).then(|| spec.jitter.try_into().ok()).flatten(),
    }
}

fn rule(rule: &Rule) -> v1::ScheduleRule {
    let kind = match rule {
        Rule::Every { interval, phase } => v1::schedule_rule::Kind::Interval(v1::IntervalRule {
            every: (*interval).try_into().ok(),
            phase: (!phase.is_zero()).then(|| (*phase).try_into().ok()).flatten(),
        }),
        Rule::Cron { pattern, gap, overlap } => v1::schedule_rule::Kind::Cron(v1::CronRule {
            pattern: pattern.clone(),
            dst_gap: match gap {
                None => v1::DstGap::Unspecified,
                Some(DstGap::Skip) => v1::DstGap::Skip,
                Some(DstGap::Shift) => v1::DstGap::Shift,
                Some(DstGap::EndOfGap) => v1::DstGap::EndOfGap,
            }
            .into(),
            dst_overlap: match overlap {
                None => v1::DstOverlap::Unspecified,
                Some(DstOverlap::First) => v1::DstOverlap::First,
                Some(DstOverlap::Last) => v1::DstOverlap::Last,
                Some(DstOverlap::Both) => v1::DstOverlap::Both,
            }
            .into(),
        }),
        Rule::At(at) => v1::schedule_rule::Kind::At(time(*at)),
    };
    v1::ScheduleRule { kind: Some(kind) }
}

fn policy(policy: &Policy) -> v1::SchedulePolicy {
    let (overlap, limit) = match policy.overlap {
        Overlap::Skip => (v1::OverlapPolicy::Skip, 0),
        Overlap::BufferOne => (v1::OverlapPolicy::BufferOne, 0),
        Overlap::BufferAll(most) => (v1::OverlapPolicy::BufferAll, most),
        Overlap::AllowAll => (v1::OverlapPolicy::AllowAll, 0),
        Overlap::AllowN(most) => (v1::OverlapPolicy::AllowN, most),
        Overlap::CancelOther => (v1::OverlapPolicy::CancelOther, 0),
    };
    let catch_up = match policy.catch_up.mode {
        CatchUpMode::All => v1::CatchUp::All,
        CatchUpMode::Last => v1::CatchUp::Last,
        CatchUpMode::None => v1::CatchUp::None,
    };
    v1::SchedulePolicy {
        overlap: overlap.into(),
        overlap_limit: super::signed(limit),
        catch_up: catch_up.into(),
        catch_up_window: policy.catch_up.window.try_into().ok(),
        catch_up_limit: super::signed(policy.catch_up.limit),
        run_limit: policy.run_limit.map(long).unwrap_or_default(),
        pause_on_failure: policy.pause_on_failure,
        deadline: policy.deadline.and_then(|deadline| deadline.try_into().ok()),
    }
}

/// Times after `from`, and the changes of the clocks on the way to the last of them.
pub(in super::super) fn preview(
    timetable: &Timetable,
    from: Timestamp,
    until: Option<Timestamp>,
    most: usize,
) -> v1::PreviewScheduleResponse {
    let nominal: Vec<Nominal> = timetable
        .following(from)
        .take_while(|nominal| until.is_none_or(|until| nominal.at < until))
        .take(most)
        .collect();
    let last = nominal.last().map_or(from, |last| last.at);
    let changes = timetable.zone().changes(from, until.filter(|_| nominal.len() < most).unwrap_or(last), most);
    v1::PreviewScheduleResponse {
        times: nominal.into_iter().map(|nominal| preview_time(nominal, timetable.zone())).collect(),
        clock_changes: changes
            .into_iter()
            .map(|change| v1::ClockChange {
                time: Some(time(change.at)),
                local_before: change.before,
                local_after: change.after,
            })
            .collect(),
        spec: Some(spec(timetable.spec())),
        zone_database: database_version().to_owned(),
    }
}

fn preview_time(nominal: Nominal, zone: &Zone) -> v1::PreviewTime {
    v1::PreviewTime {
        nominal_time: Some(time(nominal.at)),
        local_time: zone.shown(nominal.at),
        excluded: nominal.excluded,
    }
}

pub(in super::super) fn outcome(outcome: TickOutcome) -> v1::TickOutcome {
    match outcome {
        TickOutcome::Started => v1::TickOutcome::Started,
        TickOutcome::Skipped => v1::TickOutcome::Skipped,
        TickOutcome::Missed => v1::TickOutcome::Missed,
        TickOutcome::Paused => v1::TickOutcome::Paused,
        TickOutcome::Buffered => v1::TickOutcome::Buffered,
        TickOutcome::BufferFull => v1::TickOutcome::BufferFull,
        TickOutcome::Excluded => v1::TickOutcome::Excluded,
        TickOutcome::Ended => v1::TickOutcome::Ended,
        TickOutcome::Failed => v1::TickOutcome::Failed,
    }
}

pub(in super::super) fn tick(row: TickRow) -> v1::Tick {
    let (origin, backfill_id) = origin(row.origin);
    v1::Tick {
        tick_number: long(row.number),
        first_time: Some(time(row.first)),
        last_time: Some(time(row.last)),
        count: long(row.count),
        outcome: outcome(row.outcome).into(),
        reason: row.reason,
        run_id: row.run.map(|run| run.to_string()).unwrap_or_default(),
        time: Some(time(row.at)),
        origin: origin.into(),
        backfill_id,
    }
}

/// What a tick comes from, and the id of the backfill if it is one.
pub(super) fn origin(origin: TickOrigin) -> (v1::TickOrigin, String) {
    match origin {
        TickOrigin::Clock => (v1::TickOrigin::Clock, String::new()),
        TickOrigin::Trigger(_) => (v1::TickOrigin::Trigger, String::new()),
        TickOrigin::Backfill(id) => (v1::TickOrigin::Backfill, id.to_string()),
    }
}

pub(in super::super) fn backfill(row: &BackfillRow) -> v1::Backfill {
    v1::Backfill {
        backfill_id: row.id.to_string(),
        start_time: Some(time(row.from)),
        end_time: Some(time(row.until)),
        max_at_once: super::signed(row.at_once),
        max_per_minute: super::signed(row.per_minute),
        total_count: long(row.total),
        started_count: long(row.started),
        passed_count: long(row.passed),
        open_count: super::signed(row.open),
        create_time: Some(time(row.created_at)),
        done_time: row.ended_at.map(time),
        cancelled: row.cancelled,
    }
}

fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
