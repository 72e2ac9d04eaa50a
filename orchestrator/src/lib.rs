//! The orchestrator of Guras: its workflows over the services of Guras.

use server::App;

pub mod workflows;

/// What makes an orchestrator the one of Guras.
pub static APP: App = App {
    version: env!("CARGO_PKG_VERSION"),
    defaults: include_str!("defaults.toml"),
    ..App::new(&clients::CONTRACTS, |_| workflows::registry())
};
