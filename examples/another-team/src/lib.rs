//! The orchestrator of the parcels team.

use engine::Registry;
use server::App;

pub mod contracts {
    //! What is generated of `proto/`: the package `acme.parcels.v1` is the module `acme::parcels::v1`.

    server::include_contracts!();
}

mod dispatch_ready;
mod report_settings;
mod settings;

pub use dispatch_ready::DispatchReady;
pub use settings::Settings;

/// What makes an orchestrator the one of the parcels team.
pub static APP: App = App {
    version: env!("CARGO_PKG_VERSION"),
    background_services: |parts| vec![Box::new(report_settings::report_settings(parts))],
    defaults: include_str!("defaults.toml"),
    own: server::own::<Settings>,
    ..App::new(&contracts::CONTRACTS, |own| {
        let settings: Settings = own.read().unwrap_or_default();
        let mut workflows = Registry::new();
        workflows.register(move || DispatchReady { carrier: settings.carrier.clone() })?;
        Ok(workflows)
    })
};
