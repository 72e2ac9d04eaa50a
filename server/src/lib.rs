//! An orchestrator without workflows: the one room where configuration, engine, transport and admin API meet.

pub mod access;
pub mod admin;
mod app;
pub mod background_services;
pub mod command_line;
pub mod configuration;
mod contract_rules;
mod contracts;
mod descriptors;
mod duration;
pub mod health;
mod installed;
mod keys;
mod logs;
mod own;
pub mod serve;
mod services;
mod text;

pub use app::App;
pub use command_line::main;
pub use installed::ContractsError;
pub use own::{Own, OwnMistake, own};
// What a team writes with, so that its manifest names one crate.
pub use engine;
pub use transport::{self, Contracts, generated, include_contracts};

/// The contracts of the admin API.
pub mod proto {
    ::transport::include_contracts!();
}
