//! The orchestrator that this process is: installed once, before anything of its contracts is asked for.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorSet;
use transport::Contracts;
use transport::methods::MethodEntry;

use crate::App;
use crate::contract_rules::ContractRules;
use crate::services::{KeyTaken, Keys};

/// Why contracts cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum ContractsError {
    /// The descriptors cannot be read.
    #[error("the descriptors of the contracts cannot be read: {0}")]
    Unreadable(#[from] DescriptorError),
    /// The same for those of the admin API.
    #[error("the descriptors of the admin API cannot be read: {0}")]
    OwnUnreadable(#[from] prost::DecodeError),
    /// Two packages cannot be told apart in the configuration.
    #[error(transparent)]
    Keys(#[from] KeyTaken),
    /// There is another.
    #[error("this process is another orchestrator already; expected one for each process")]
    Others,
}

#[derive(Debug)]
struct Installed {
    app: App,
    keys: Keys,
    /// Those of the contracts and of the admin API: payloads stand inside of its messages.
    pool: DescriptorPool,
    by_path: HashMap<&'static str, &'static MethodEntry>,
    rules: Arc<ContractRules>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Makes this the orchestrator of the process. The same one may be installed again.
pub(crate) fn install(app: &App) -> Result<(), ContractsError> {
    if INSTALLED.get().is_none() {
        let by_path = app.contracts.methods().map(|entry| (entry.method.path, entry)).collect();
        let (keys, pool) = (Keys::of(app.contracts)?, with_own(app.contracts.descriptors)?);
        let rules = Arc::new(ContractRules::read(app.contracts, &pool));
        let _ = INSTALLED.set(Installed { app: *app, keys, pool, by_path, rules });
    }
    let same = INSTALLED.get().is_some_and(|there| std::ptr::eq(there.app.contracts, app.contracts));
    if same { Ok(()) } else { Err(ContractsError::Others) }
}

fn with_own(descriptors: &[u8]) -> Result<DescriptorPool, ContractsError> {
    let mut pool = DescriptorPool::decode(descriptors)?;
    let own = FileDescriptorSet::decode(crate::proto::CONTRACTS.descriptors)?;
    let missing: Vec<_> = own.file.into_iter().filter(|file| pool.get_file_by_name(file.name()).is_none()).collect();
    pool.add_file_descriptor_protos(missing)?;
    Ok(pool)
}

fn installed() -> Option<&'static Installed> {
    #[cfg(test)]
    let _ = install(&tests::APP);
    INSTALLED.get()
}

/// The descriptors of the contracts and of the admin API.
pub(crate) fn pool() -> Option<&'static DescriptorPool> {
    installed().map(|installed| &installed.pool)
}

/// The orchestrator.
pub(crate) fn app() -> Option<&'static App> {
    installed().map(|installed| &installed.app)
}

/// The contracts.
pub(crate) fn contracts() -> Contracts {
    app().map_or(Contracts { services: &[], descriptors: &[] }, |app| *app.contracts)
}

/// The rules of the contracts.
pub(crate) fn rules() -> Option<&'static Arc<ContractRules>> {
    installed().map(|installed| &installed.rules)
}

/// How the configuration names the services.
pub(crate) fn keys() -> Option<&'static Keys> {
    installed().map(|installed| &installed.keys)
}

/// The method with this path (`/package.Service/Method`).
pub(crate) fn find(path: &str) -> Option<&'static MethodEntry> {
    installed()?.by_path.get(path).copied()
}

/// Every method that takes one request.
pub(crate) fn methods() -> impl Iterator<Item = &'static MethodEntry> {
    contracts().methods()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the unit tests of this crate are done with.
    pub(super) static APP: App = App {
        defaults: "[schedules.send_due]\nworkflow = \"notifications.send-due\"\nevery = \"60s\"\n",
        ..App::new(&test_contracts::app::CONTRACTS, |_| Ok(engine::workflow::Registry::new()))
    };

    #[test]
    fn descriptors_that_cannot_be_read_are_an_error_and_never_an_empty_pool() {
        assert!(matches!(with_own(&[0xff, 0xff, 0xff]), Err(ContractsError::Unreadable(_))));
        assert!(
            with_own(test_contracts::app::CONTRACTS.descriptors)
                .unwrap()
                .get_message_by_name("google.rpc.Status")
                .is_some()
        );
    }

    #[test]
    fn a_process_is_one_orchestrator() {
        install(&APP).unwrap();
        static OTHER: Contracts = Contracts { services: &[], descriptors: &[] };
        let other = App { contracts: &OTHER, ..APP };
        assert!(matches!(install(&other), Err(ContractsError::Others)));
    }
}
