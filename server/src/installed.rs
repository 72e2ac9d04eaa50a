//! The orchestrator that this process is: installed once, before anything of its contracts is asked for.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use engine::rpc::Method;
use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorSet;
use transport::Contracts;
use transport::methods::MethodEntry;

use crate::app::App;
use crate::contract_rules::ContractRules;
use crate::keys::{KeyTaken, Keys};

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

impl App {
    /// Makes it the one of the process: its contracts and defaults are those that the configuration is read with.
    ///
    /// # Errors
    /// The descriptors of its contracts cannot be read, two of its packages have one key in the configuration, or the
    /// process is another orchestrator already.
    pub fn install(&self) -> Result<(), ContractsError> {
        install(self)
    }
}

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

/// The key of the service in the configuration.
pub(crate) fn key(service: &str) -> Option<&'static str> {
    keys()?.of_service(service)
}

/// The methods of the services with this key.
pub(crate) fn methods_of(wanted: &str) -> impl Iterator<Item = &'static Method> {
    methods().map(|entry| entry.method).filter(move |method| key(method.service) == Some(wanted))
}

/// The keys of all services that the contracts know.
pub(crate) fn known_keys() -> BTreeSet<&'static str> {
    keys().map(Keys::all).unwrap_or_default()
}

/// Why no service has this key, for who wrote it.
pub(crate) fn no_such_key(key: &str) -> String {
    let listed =
        |keys: &mut dyn Iterator<Item = &str>| keys.map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
    match keys().and_then(|keys| keys.sharing(key)) {
        Some(full) => {
            let full = listed(&mut full.iter().map(String::as_str));
            format!("several packages have services of this name; expected the full name of one of them: {full}")
        }
        None => format!("no contract has such a service; expected one of {}", listed(&mut known_keys().into_iter())),
    }
}

/// The full names of the services with this key.
pub(crate) fn services_of(key: &str) -> BTreeSet<&'static str> {
    methods_of(key).map(|method| method.service).collect()
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
