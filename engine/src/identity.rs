//! Derived identities: idempotency keys, request hashes, the ids of runs that ticks start.

use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::random::RandomSource;
use crate::time::Timestamp;

/// The id of a new run: a version 7 UUID, so that ids sort by the time of their start.
pub(crate) fn run(random: &RandomSource, at: Timestamp) -> Uuid {
    v7(&random.bytes(), at)
}

/// SHA-256 of an encoded request.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The key of a step: the same over attempts, crashes and retries of one incarnation (semantics.md E7).
pub(crate) fn step_key(run: Uuid, branch: &str, position: u32, method: &str, incarnation: u32) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(b"step\0");
    hasher.update(run.as_bytes());
    part(&mut hasher, branch.as_bytes());
    hasher.update(position.to_be_bytes());
    part(&mut hasher, method.as_bytes());
    hasher.update(incarnation.to_be_bytes());
    shaped_as_v4(hasher)
}

/// A business key: it leaves the run out, so that no other run can have the effect again.
pub(crate) fn business_key(method: &str, name: &str, parts: &[String]) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(b"once\0");
    part(&mut hasher, method.as_bytes());
    part(&mut hasher, name.as_bytes());
    for value in parts {
        part(&mut hasher, value.as_bytes());
    }
    shaped_as_v4(hasher)
}

/// The id of the run that a tick starts, from the schedule's uid, the nominal time and the id of the trigger or backfill
/// that it is of (semantics.md T2).
///
/// Shaped as a version 7 UUID of the nominal time, so that it sorts among the ids of other runs.
pub(crate) fn tick_run(schedule: Uuid, nominal: Timestamp, origin: Option<Uuid>) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(b"tick\0");
    hasher.update(schedule.as_bytes());
    hasher.update(nominal.as_micros().to_be_bytes());
    if let Some(origin) = origin {
        hasher.update(origin.as_bytes());
    }
    shaped_as_v7(hasher, nominal)
}

/// Which part of a span belongs to a tick: from none of it to all of it, the same each time.
pub(crate) fn spread(schedule: Uuid, nominal: Timestamp, most: u64) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(b"jitter\0");
    hasher.update(schedule.as_bytes());
    hasher.update(nominal.as_micros().to_be_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let drawn = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let scaled = (u128::from(drawn) * (u128::from(most) + 1)) >> 64;
    u64::try_from(scaled).unwrap_or(most)
}

/// The id of a child run: from the place of its step and how often that was reset, at the time of its start.
///
/// Shaped as a version 7 UUID of that time, so that it sorts among the ids of other runs.
pub(crate) fn child_run(parent: Uuid, branch: &str, position: u32, incarnation: u32, at: Timestamp) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(b"child\0");
    hasher.update(parent.as_bytes());
    part(&mut hasher, branch.as_bytes());
    hasher.update(position.to_be_bytes());
    hasher.update(incarnation.to_be_bytes());
    shaped_as_v7(hasher, at)
}

/// A short stand-in for a fan-out key that must not be shown (semantics.md F6).
pub(crate) fn redacted(value: &str) -> String {
    let digest = hash(value.as_bytes());
    let mut text = String::with_capacity(4 + 24);
    text.push_str("sha:");
    for byte in &digest[..12] {
        use std::fmt::Write as _;
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// Length first, so that ("ab", "c") and ("a", "bc") differ.
fn part(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(bytes);
}

fn shaped_as_v7(hasher: Sha256, at: Timestamp) -> Uuid {
    let digest: [u8; 32] = hasher.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    v7(&random, at)
}

fn v7(random: &[u8; 10], at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, random).into_uuid()
}

fn shaped_as_v4(hasher: Sha256) -> Uuid {
    let digest: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shaped_as_version_4_and_differ_by_every_part() {
        let run = Uuid::from_u128(7);
        let keys = [
            step_key(run, "", 0, "/s/M", 1),
            step_key(run, "", 1, "/s/M", 1),
            step_key(run, "b[1]", 0, "/s/M", 1),
            step_key(run, "", 0, "/s/N", 1),
            step_key(run, "", 0, "/s/M", 2),
            step_key(Uuid::from_u128(8), "", 0, "/s/M", 1),
            business_key("/s/M", "push", &["ab".into(), "c".into()]),
            business_key("/s/M", "push", &["a".into(), "bc".into()]),
            business_key("/s/N", "push", &["a".into(), "bc".into()]),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(key.get_version_num(), 4);
            assert!(!keys[..index].contains(key), "key {index} is not unique");
        }
    }

    #[test]
    fn a_child_run_has_one_id_for_each_start_of_its_step() {
        let (run, at) = (Uuid::from_u128(7), Timestamp::from_micros(1_000_000));
        let id = child_run(run, "b", 1, 1, at);
        assert_eq!(id, child_run(run, "b", 1, 1, at));
        let others = [
            child_run(run, "b", 1, 2, at),
            child_run(run, "b", 2, 1, at),
            child_run(run, "", 1, 1, at),
            child_run(Uuid::from_u128(8), "b", 1, 1, at),
        ];
        assert!(!others.contains(&id));
        assert!(id < child_run(run, "b", 1, 1, Timestamp::from_micros(2_000_000)));
    }

    #[test]
    fn a_tick_has_one_run_id_that_sorts_by_nominal_time() {
        let schedule = Uuid::from_u128(1);
        let first = tick_run(schedule, Timestamp::from_micros(1_000_000), None);
        let second = tick_run(schedule, Timestamp::from_micros(2_000_000), None);
        assert_eq!(first, tick_run(schedule, Timestamp::from_micros(1_000_000), None));
        assert!(first < second);
        assert_ne!(first, tick_run(schedule, Timestamp::from_micros(1_000_000), Some(Uuid::from_u128(9))));
        assert_ne!(first, tick_run(Uuid::from_u128(2), Timestamp::from_micros(1_000_000), None));
    }
}
