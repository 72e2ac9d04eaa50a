//! What is deployed, read from the repository as Docker and Kubernetes read it: image, manifests and documentation say
//! the same as the code.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod another_team;
mod backup;
mod components;
mod files;
mod image;
mod manifests;
mod pod;
mod probes;
mod process;
mod reference;
mod replicas;
mod rollouts;
mod semantics;
