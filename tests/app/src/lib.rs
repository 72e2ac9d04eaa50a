//! A small orchestrator without a domain worth the name: what the tests of the mechanism run.

use engine::Registry;
use engine::workflow::NameTaken;
use server::App;
pub use test_contracts::app as contracts;

pub mod users;
pub mod workflows;

/// The orchestrator.
pub static APP: App = App { version: env!("CARGO_PKG_VERSION"), ..App::new(&contracts::CONTRACTS, |_| registered()) };

fn registered() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| workflows::Greet)?;
    workflows.register(|| workflows::Invite)?;
    workflows.register(|| workflows::Nap)?;
    workflows.register(|| workflows::Round)?;
    workflows.register(|| workflows::Stay)?;
    workflows.register(|| workflows::Wait)?;
    workflows.register(|| workflows::Charge)?;
    workflows.register(|| workflows::Undeclared)?;
    Ok(workflows)
}
