//! Tests of the store on servers of their own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod batches;
mod conformance;
mod faults;
mod leases;
mod plans;
mod pooled;
mod releases;
mod servers;
mod statements;
mod suite;
mod tls;
