//! Turns facts into stored messages and back; the only file that knows both forms.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::failure::{Code, Detail, Failure, StepRef};
use crate::journal_v1 as stored;
use crate::rpc::Level;
use crate::time::Timestamp;
use crate::transport::Outcome;

mod steps;

pub(crate) use steps::Steps;
pub(crate) use stored::fact::Kind;

/// Facts that wait for their commit, encoded as they come.
///
/// Entries are lists of one repeated field, so two buffers in a row are an entry as well.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    facts: u64,
}

/// Room for the end of one step and the start of the next. It is asked for once for each entry and goes with it: most
/// runs in memory wait for an answer and have learned nothing.
const ROOM: usize = 512;

impl Buffer {
    pub(crate) fn push(&mut self, time: Timestamp, kind: Kind) {
        let fact = stored::Fact { time_micros: time.as_micros(), kind: Some(kind) };
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(ROOM);
        }
        prost::encoding::message::encode(1, &fact, &mut self.bytes);
        self.facts += 1;
    }

    pub(crate) fn facts(&self) -> u64 {
        self.facts
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.facts == 0
    }

    /// Takes everything out: the encoded entry and its number of facts.
    pub(crate) fn take(&mut self) -> (Bytes, u64) {
        (std::mem::take(&mut self.bytes).into(), std::mem::take(&mut self.facts))
    }

    /// Facts that speak of a step whose number is higher than `last` speak of one that many lower: starts that
    /// stood before it were taken back.
    pub(crate) fn renumber(&mut self, last: u64, lower: u64) {
        // What was encoded here decodes; were it not so, the append would be refused as no entry.
        let Ok(mut entry) = stored::Entry::decode(&self.bytes[..]) else { return };
        for fact in &mut entry.facts {
            let steps = fact.kind.as_mut().map(steps::named_starts).unwrap_or_default();
            for step in steps.iter_mut().filter(|step| **step > last) {
                *step = step.saturating_sub(lower);
            }
        }
        self.bytes = entry.encode_to_vec();
    }

    /// Puts facts back in front of what has come since.
    pub(crate) fn restore(&mut self, entry: &[u8], facts: u64) {
        self.bytes.splice(..0, entry.iter().copied());
        self.facts += facts;
    }
}

/// Why stored bytes are no journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, with its fields")]
pub enum JournalError {
    #[error("entry at sequence {sequence} does not decode: {error}")]
    Undecodable { sequence: u64, error: prost::DecodeError },
    #[error("fact {sequence} is of a kind that this release does not know")]
    UnknownKind { sequence: u64 },
    #[error("fact {sequence} speaks of step {step}, which the journal does not have")]
    UnknownStep { sequence: u64, step: u64 },
    #[error("the journal has more than {most} bytes, twice the limit journal_bytes")]
    TooLarge { most: usize },
    #[error("the journal does not begin with Created")]
    NoBeginning,
    #[error("the journal has {found} facts, its run says {expected}")]
    Length { found: u64, expected: u64 },
}

/// Decodes one entry into its facts.
///
/// # Errors
/// If the bytes are no entry.
pub fn decode_entry(sequence: u64, entry: Bytes) -> Result<Vec<stored::Fact>, JournalError> {
    stored::Entry::decode(entry).map(|entry| entry.facts).map_err(|error| JournalError::Undecodable { sequence, error })
}

pub(crate) fn store_failure(failure: &Failure) -> stored::Failure {
    stored::Failure {
        code: failure.code() as i32,
        message: failure.message().to_owned(),
        details: failure
            .details()
            .iter()
            .map(|detail| stored::Payload { type_name: detail.type_name.clone(), value: detail.value.clone() })
            .collect(),
        step: failure.step().map(|step| stored::Place {
            branch: step.branch.clone(),
            position: step.position,
            name: step.name.clone(),
        }),
    }
}

pub(crate) fn load_failure(failure: stored::Failure) -> Failure {
    let details =
        failure.details.into_iter().map(|detail| Detail { type_name: detail.type_name, value: detail.value }).collect();
    let loaded = Failure::new(Code::from_i32(failure.code), failure.message).with_details(details);
    match failure.step {
        Some(place) => loaded.at(StepRef { branch: place.branch, position: place.position, name: place.name }),
        None => loaded,
    }
}

pub(crate) fn store_level(level: Level) -> (stored::Level, u32) {
    match level {
        Level::NoSideEffects => (stored::Level::NoSideEffects, 0),
        Level::Idempotent => (stored::Level::Idempotent, 0),
        Level::Keyed { horizon } => (stored::Level::Keyed, u32::try_from(horizon.as_secs()).unwrap_or(u32::MAX)),
        Level::Unknown => (stored::Level::Unknown, 0),
    }
}

/// A level that this release does not know is treated as unknown: never repeated on a guess.
pub(crate) fn load_level(level: stored::Level, horizon_seconds: u32) -> Level {
    match level {
        stored::Level::NoSideEffects => Level::NoSideEffects,
        stored::Level::Idempotent => Level::Idempotent,
        stored::Level::Keyed => Level::Keyed { horizon: Duration::from_secs(u64::from(horizon_seconds)) },
        stored::Level::Unknown | stored::Level::Unspecified => Level::Unknown,
    }
}

pub(crate) fn store_outcome(outcome: &Outcome) -> stored::Outcome {
    match outcome {
        Outcome::Done(_) => stored::Outcome::Unspecified,
        Outcome::NotSent(_) => stored::Outcome::NotSent,
        Outcome::Refused(_) => stored::Outcome::Refused,
        Outcome::Ambiguous { .. } => stored::Outcome::Ambiguous,
    }
}
