//! The store of many replicas, in PostgreSQL.
//!
//! Every replica is active and none leads. A replica holds runs by a lease that it renews; when the lease is over, the others
//! take its runs. All of it is plain SQL: no session state, no advisory locks, no triggers, no notifications that anything
//! depends on, so that a pooler in transaction mode and engines that only speak the protocol fit as well.

mod again;
mod audit;
mod batch;
mod behind;
mod buckets;
mod claims;
mod clock;
mod commands;
mod copying;
pub mod doctor;
mod durability;
mod files;
mod hints;
mod home;
mod housekeeping;
mod inbox;
mod lease;
mod limits;
mod look;
mod migrations;
mod options;
mod order;
mod others;
mod parameter;
mod places;
mod pool;
mod purges;
mod reads;
mod requests;
mod rows;
mod run_lists;
mod runs;
mod schedules;
mod session;
mod store;
mod suspects;
#[cfg(any(test, feature = "servers"))]
pub mod testing;
mod tls;
mod url;
mod work;
mod workflow_numbers;
mod workflows;

pub use copying::{Copied, CopyTarget, Reserved};
pub use files::UnusableFile;
pub use look::Look;
pub use options::PostgresOptions;
pub use store::Postgres;
pub use tls::{Encryption, TlsFiles};
pub use url::InvalidUrl;
