//! A schedule's definition as it is stored: with every policy said, so that a default that changes changes no schedule.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::Schedule;
use crate::journal_v1::{Schedule as Stored, schedule as stored};
use crate::schedule::{CatchUp, CatchUpMode, DstGap, DstOverlap, Exclusions, Overlap, Policy, Rule, Spec};
use crate::time::Timestamp;

/// Why a stored definition cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum StoredError {
    #[error("the stored definition does not decode: {0}")]
    Undecodable(#[from] prost::DecodeError),
    #[error("the stored definition has a {0} that is not known to this release")]
    Unknown(&'static str),
}

pub(crate) fn encode(schedule: &Schedule) -> Vec<u8> {
    let Schedule { name: _, workflow, input, spec, policy } = schedule;
    let (overlap, limit) = match policy.overlap {
        Overlap::Skip => (stored::Overlap::Skip, 0),
        Overlap::BufferOne => (stored::Overlap::BufferOne, 0),
        Overlap::BufferAll(most) => (stored::Overlap::BufferAll, most),
        Overlap::AllowAll => (stored::Overlap::AllowAll, 0),
        Overlap::AllowN(most) => (stored::Overlap::AllowN, most),
        Overlap::CancelOther => (stored::Overlap::CancelOther, 0),
    };
    let mode = match policy.catch_up.mode {
        CatchUpMode::All => stored::CatchUp::All,
        CatchUpMode::Last => stored::CatchUp::Last,
        CatchUpMode::None => stored::CatchUp::None,
    };
    let message = Stored {
        workflow: workflow.clone(),
        input: input.clone(),
        rules: spec.rules.iter().map(rule).collect(),
        exclude: Some(stored::Exclusions {
            dates: spec.exclude.dates.iter().map(ToString::to_string).collect(),
            patterns: spec.exclude.patterns.clone(),
        }),
        start_micros: spec.start.map(Timestamp::as_micros),
        end_micros: spec.end.map(Timestamp::as_micros),
        zone: spec.zone.clone(),
        jitter_micros: micros(spec.jitter),
        overlap: overlap.into(),
        overlap_limit: limit,
        catch_up: mode.into(),
        catch_up_window_micros: micros(policy.catch_up.window),
        catch_up_limit: policy.catch_up.limit,
        run_limit: policy.run_limit.unwrap_or_default(),
        pause_on_failure: policy.pause_on_failure,
        deadline_micros: policy.deadline.map(micros).unwrap_or_default(),
    };
    message.encode_to_vec()
}

pub(crate) fn decode(name: String, bytes: &[u8]) -> Result<Schedule, StoredError> {
    let message = Stored::decode(Bytes::copy_from_slice(bytes))?;
    let overlap = match message.overlap() {
        stored::Overlap::Skip => Overlap::Skip,
        stored::Overlap::BufferOne => Overlap::BufferOne,
        stored::Overlap::BufferAll => Overlap::BufferAll(message.overlap_limit),
        stored::Overlap::AllowAll => Overlap::AllowAll,
        stored::Overlap::AllowN => Overlap::AllowN(message.overlap_limit),
        stored::Overlap::CancelOther => Overlap::CancelOther,
        stored::Overlap::Unspecified => return Err(StoredError::Unknown("overlap policy")),
    };
    let mode = match message.catch_up() {
        stored::CatchUp::All => CatchUpMode::All,
        stored::CatchUp::Last => CatchUpMode::Last,
        stored::CatchUp::None => CatchUpMode::None,
        stored::CatchUp::Unspecified => return Err(StoredError::Unknown("catch-up policy")),
    };
    let policy = Policy {
        overlap,
        catch_up: CatchUp {
            mode,
            window: Duration::from_micros(message.catch_up_window_micros),
            limit: message.catch_up_limit,
        },
        run_limit: (message.run_limit > 0).then_some(message.run_limit),
        pause_on_failure: message.pause_on_failure,
        deadline: (message.deadline_micros > 0).then_some(Duration::from_micros(message.deadline_micros)),
    };
    let exclude = message.exclude.unwrap_or_default();
    let dates = exclude.dates.iter().map(|date| date.parse()).collect::<Result<_, _>>();
    let spec = Spec {
        rules: message.rules.iter().map(read_rule).collect::<Result<_, _>>()?,
        exclude: Exclusions { dates: dates.map_err(|_| StoredError::Unknown("date"))?, patterns: exclude.patterns },
        start: message.start_micros.map(Timestamp::from_micros),
        end: message.end_micros.map(Timestamp::from_micros),
        zone: message.zone,
        jitter: Duration::from_micros(message.jitter_micros),
    };
    Ok(Schedule { name, workflow: message.workflow, input: message.input, spec, policy })
}

fn rule(rule: &Rule) -> stored::Rule {
    let kind = match rule {
        Rule::Every { interval, phase } => stored::rule::Kind::Every(stored::Every {
            interval_micros: micros(*interval),
            phase_micros: micros(*phase),
        }),
        Rule::Cron { pattern, gap, overlap } => {
            let gap = match gap {
                None => stored::DstGap::Unspecified,
                Some(DstGap::Skip) => stored::DstGap::Skip,
                Some(DstGap::Shift) => stored::DstGap::Shift,
                Some(DstGap::EndOfGap) => stored::DstGap::EndOfGap,
            };
            let overlap = match overlap {
                None => stored::DstOverlap::Unspecified,
                Some(DstOverlap::First) => stored::DstOverlap::First,
                Some(DstOverlap::Last) => stored::DstOverlap::Last,
                Some(DstOverlap::Both) => stored::DstOverlap::Both,
            };
            stored::rule::Kind::Cron(stored::Cron {
                pattern: pattern.clone(),
                gap: gap.into(),
                overlap: overlap.into(),
            })
        }
        Rule::At(at) => stored::rule::Kind::AtMicros(at.as_micros()),
    };
    stored::Rule { kind: Some(kind) }
}

fn read_rule(rule: &stored::Rule) -> Result<Rule, StoredError> {
    match &rule.kind {
        Some(stored::rule::Kind::Every(every)) => Ok(Rule::Every {
            interval: Duration::from_micros(every.interval_micros),
            phase: Duration::from_micros(every.phase_micros),
        }),
        Some(stored::rule::Kind::Cron(cron)) => {
            let gap = match cron.gap() {
                stored::DstGap::Unspecified => None,
                stored::DstGap::Skip => Some(DstGap::Skip),
                stored::DstGap::Shift => Some(DstGap::Shift),
                stored::DstGap::EndOfGap => Some(DstGap::EndOfGap),
            };
            let overlap = match cron.overlap() {
                stored::DstOverlap::Unspecified => None,
                stored::DstOverlap::First => Some(DstOverlap::First),
                stored::DstOverlap::Last => Some(DstOverlap::Last),
                stored::DstOverlap::Both => Some(DstOverlap::Both),
            };
            Ok(Rule::Cron { pattern: cron.pattern.clone(), gap, overlap })
        }
        Some(stored::rule::Kind::AtMicros(at)) => Ok(Rule::At(Timestamp::from_micros(*at))),
        None => Err(StoredError::Unknown("rule")),
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Timetable;

    #[test]
    fn what_is_stored_is_read_as_it_was() {
        let mut spec = Spec::cron("30 2 * * *", "Europe/Berlin");
        spec.rules.push(Rule::Every { interval: Duration::from_secs(60), phase: Duration::from_secs(5) });
        spec.rules.push(Rule::At(Timestamp::from_micros(7)));
        spec.exclude.dates.push("2026-12-24".parse().unwrap());
        spec.exclude.patterns.push("@hourly".to_owned());
        spec.jitter = Duration::from_secs(9);
        spec.end = Some(Timestamp::from_micros(4_000_000_000_000_000));
        let effective = Timetable::new(spec.clone()).unwrap().spec().clone();
        for spec in [spec, effective] {
            let mut schedule = Schedule::new("name", "workflow", spec);
            schedule.policy.run_limit = Some(3);
            schedule.policy.deadline = Some(Duration::from_secs(5));
            for overlap in [Overlap::Skip, Overlap::BufferAll(3), Overlap::AllowN(2), Overlap::CancelOther] {
                schedule.policy.overlap = overlap;
                assert_eq!(decode("name".to_owned(), &encode(&schedule)), Ok(schedule.clone()));
            }
        }
    }
}
