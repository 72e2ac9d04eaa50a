//! What generated code names beside its own types. Not for people.

pub use crate::REDACTED;
pub use crate::codec::Codec;
pub use crate::contracts::Contracts;
pub use crate::methods::MethodEntry;
pub use engine;
pub use prost;
pub use prost_types;
pub use tonic;
