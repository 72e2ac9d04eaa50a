//! Durable runs: calls are steps, and the contract of each method is the policy.
//!
//! A [`Workflow`] says what to do through its [`Context`]; an [`Engine`] runs it over a [`store::Store`] and a
//! [`transport::Transport`]. The rules it keeps have codes (F1, E1, …), are stated in `docs/semantics.md`, and are
//! cited where they are kept.

#![warn(missing_docs)]

mod authoring;
pub mod breadcrumbs;
pub mod claim;
pub mod decision;
mod doubt;
mod driver;
pub mod engine;
mod environment;
pub mod failure;
mod history;
mod identity;
pub mod journal;
pub mod limits;
mod mailbox;
mod outage_waiters;
pub mod panics;
pub mod prelude;
mod quarantine;
pub mod random;
mod reset;
pub mod retention;
pub mod retry;
pub mod rpc;
pub mod rules;
mod run;
mod run_command;
mod run_table;
pub mod safeguards;
pub mod schedule;
mod scope;
pub mod signal;
pub mod state;
mod step_id;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod transport;
mod undo;
pub mod upgrade;
pub mod view;
mod watchers;

pub use authoring::context::{Context, ScheduleInfo};
pub use authoring::workflow::{Registry, Workflow};
pub use authoring::{context, steps, workflow};
pub use engine::Engine;
pub use failure::{Code, Failure};
pub use limits::Limits;
pub use random::RandomSource;
pub use retention::Retention;
pub use retry::Retry;
pub use rpc::{Level, Method, Rpc};
pub use safeguards::{ForeignWaits, Safeguards};
pub use signal::SignalType;
pub use state::State;
pub use time::Timestamp;
pub use watchers::Watch;

/// The stored messages, generated from `engine/proto`.
pub mod journal_v1 {
    include!(concat!(env!("OUT_DIR"), "/orchestrator.journal.v1.rs"));
}
