//! Bounds that the engine keeps; each is refused with an error that names it, never a slow death.

use std::time::Duration;

/// The bounds of one engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest input, output, request or response of a run, in bytes.
    pub payload_bytes: usize,
    /// Most steps that one run may journal.
    pub steps_per_run: u32,
    /// Most items of one fan-out.
    pub fan_out_width: u32,
    /// Most runs held in memory at once; further starts stay PENDING until there is room.
    pub runs_in_flight: u32,
    /// Longest fan-out key, step name or reason, in bytes.
    pub name_bytes: usize,
    /// Most child runs that one run starts.
    pub children_per_run: u32,
    /// Most runs that one above the other are each other's children, the first not counted.
    pub child_depth: u32,
    /// Most messages that wait in the inbox of one run.
    pub inbox_messages: u32,
    /// A run that waits no longer than this stays in memory; otherwise it is given back until it is due.
    pub linger: Duration,
    /// The store is asked for runs that are due at least this often, also where nothing says that there are some.
    pub claim_interval: Duration,
    /// Facts of reads are written behind for at most this long,
    pub write_behind: Duration,
    /// and for at most this many bytes.
    pub write_behind_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 2 << 20,
            steps_per_run: 50_000,
            fan_out_width: 10_000,
            runs_in_flight: 20_000,
            name_bytes: 512,
            children_per_run: 10_000,
            child_depth: 8,
            inbox_messages: 1_000,
            linger: Duration::from_secs(5),
            claim_interval: Duration::from_secs(5),
            write_behind: Duration::from_millis(500),
            write_behind_bytes: 64 << 10,
        }
    }
}
