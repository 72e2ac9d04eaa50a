//! A real process under callers who mean no good: its memory stays bounded, probes are answered, runs continue at their rate,
//! and its end waits for no one who is silent.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod connections;
mod meter;
mod process;
mod reads;
mod requests;
mod wire;
