//! Tests of the store on servers of their own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod adoption;
mod batches;
mod conformance;
mod copies;
mod declarations;
mod doctor;
mod faults;
mod leases;
mod places;
mod plans;
mod pooled;
mod releases;
mod servers;
mod statements;
mod suite;
mod tls;
