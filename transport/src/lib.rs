//! The way of a call: what each method promises, limits, breaker and retries, and a channel on h2 under the generated
//! clients.

#![warn(missing_docs)]

pub mod channel;
pub mod codec;
pub mod contracts;
#[doc(hidden)]
pub mod generated;
pub mod methods;
pub mod policy;
mod stack;
pub mod telemetry;
mod transport;

pub use contracts::Contracts;
pub use transport::*;

/// What `Debug` shows in place of a field that its contract marks `debug_redact`.
pub const REDACTED: &str = "[redacted]";

/// Includes what a build script generated of the crate's contracts: a module for each package, and `CONTRACTS`.
#[macro_export]
macro_rules! include_contracts {
    () => {
        include!(concat!(env!("OUT_DIR"), "/contracts/mod.rs"));
    };
}
