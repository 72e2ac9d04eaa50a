//! Generated messages, clients and servers of every contract under `proto/`, what each method promises, and the
//! transport under them.
//!
//! A package is a module: `guras.users.v1` is [`guras::users::v1`].

// Generated code names this crate by name, so that tests can compile what the generator makes of other contracts.
extern crate self as clients;

pub mod channel;
pub mod codec;
pub mod methods;
pub mod policy;
mod stack;
pub mod telemetry;
pub mod transport;

mod generated;

// A glob, because a new package must not need a line here.
pub use generated::*;

/// The descriptors of every contract as an encoded `google.protobuf.FileDescriptorSet`, with imports, options and comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contracts/descriptors.bin"));

/// What `Debug` shows in place of a field that its contract marks `debug_redact`.
pub const REDACTED: &str = "[redacted]";
