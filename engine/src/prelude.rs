//! Everything that the author of a workflow needs, for one `use engine::prelude::*`.

pub use std::time::Duration;

pub use crate::authoring::context::Context;
pub use crate::authoring::steps::fan_out::{FanOutResults, ItemResult};
pub use crate::authoring::workflow::{Registry, Workflow};
pub use crate::failure::{Code, Failure};
pub use crate::retry::Retry;
pub use crate::rpc::{Paged, Rpc};
pub use crate::signal::SignalType;
pub use crate::time::Timestamp;
