//! The whole service on loopback over a store in memory and services that are closures, and the real binary.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod access;
mod admin_input;
mod audit;
mod canaries;
mod command_line;
mod decisions;
mod doctor;
mod grants;
mod issuer;
mod lists;
mod nothing_else;
mod process;
mod published_keys;
mod runs;
mod schedules;
mod services;
mod signals;
mod steering;
mod steps;
mod support;
mod texts;
mod tls;
mod upgrade;
