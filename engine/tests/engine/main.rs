//! The engine's promises, tried in memory and in virtual time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, helpers of tests too")]

mod adoption;
mod authoring;
mod branches;
mod cancel_other;
mod children;
mod clocks;
mod command_table;
mod commands;
mod common;
mod decisions;
mod doubt;
mod failures;
mod foreign;
mod guards;
mod journals;
mod late_commands;
mod ledger_model;
mod ledgers;
mod levels;
mod operators;
mod outages;
mod poison;
mod races;
mod replicas;
mod requests;
mod resets;
mod retention;
mod retries;
mod rules;
mod runs;
mod schedule_clocks;
mod schedule_requests;
mod schedules;
mod scheduling;
mod signals;
mod steering;
mod testkit;
mod told;
mod undo;
mod undo_doubt;
mod undo_panics;
mod versions;
mod views;
