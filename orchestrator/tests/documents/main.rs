//! What the documents say is true: code compiles, commands and settings exist, links lead somewhere, names are explained.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

// The examples name the crates that a reader has: there, contracts and workflows of their own are in `clients` and
// `orchestrator`. Here the contracts of the examples are in a crate for tests, and the workflow is in this one.
extern crate orchestrator as guras;
extern crate self as orchestrator;
extern crate test_contracts as clients;

pub mod workflows;

mod blocks;
mod circles;
mod code;
mod commands;
mod errors;
mod examples;
mod files;
mod links;
mod map;
mod rules;
mod settings;
mod words;
