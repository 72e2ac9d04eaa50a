//! The Guras domain services in small: real gRPC servers with seeded data in memory, and an account of what was done.
//!
//! ```no_run
//! # async fn start() -> Result<(), demo::StartError> {
//! let world = demo::World::start(demo::Settings::default()).await?;
//! println!("users answer at {}", world.address("users").expect("a service of the world"));
//! assert!(world.ledger().doubled().is_empty());
//! # Ok(())
//! # }
//! ```

mod control;
mod dedupe;
mod faults;
mod feed;
mod front;
mod ledger;
mod life;
mod paging;
mod rules;
mod seed;
mod services;
mod settings;
mod shared;
mod world;

/// The contract of what controls the demo.
pub mod proto {
    ::transport::include_contracts!();
}

pub use faults::{FaultBook, Faults};
pub use feed::Feed;
pub use ledger::{Count, Ledger, MethodCount};
pub use settings::{AiManners, Listen, Settings};
pub use world::{StartError, World};
