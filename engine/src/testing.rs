//! For people who write workflows: services that answer as a test says, virtual time, and crashes everywhere.
//!
//! A test builds a [`World`] in a `#[tokio::test(start_paused = true)]`, says what its services answer, and runs a
//! workflow in it: no network, no files, no waiting.

mod clocks;
mod crash;
mod cut;
mod effects;
mod faults;
mod journal;
mod others;
mod probe;
mod probed_store;
mod reached;
mod recording;
mod replay;
mod services;
mod sweep;
mod world;
mod zones;

pub use clocks::Clocks;
pub use crash::{crash_everywhere, crash_everywhere_while};
pub use expect_test::{Expect, expect};
pub use journal::{Journal, check};
pub use probe::Probe;
pub use recording::Recording;
pub use replay::{replay_everywhere, replay_everywhere_while};
pub use services::{Arrival, Reply, Services};
pub use sweep::{Difference, Sweep};
pub use world::World;
pub use zones::set_zone;
