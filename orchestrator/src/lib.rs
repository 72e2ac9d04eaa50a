//! The orchestrator of Guras: its workflows over the services of Guras.

use server::App;

pub mod workflows;

/// What makes an orchestrator the one of Guras.
pub const APP: App =
    App { version: env!("CARGO_PKG_VERSION"), contracts: &clients::CONTRACTS, workflows: workflows::registry };
