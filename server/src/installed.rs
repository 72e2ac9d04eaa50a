//! The contracts of this process: installed once, before anything of them is asked for.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorSet;
use transport::Contracts;
use transport::methods::MethodEntry;

/// Why contracts cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum ContractsError {
    /// The descriptors cannot be read.
    #[error("the descriptors of the contracts cannot be read: {0}")]
    Unreadable(#[from] DescriptorError),
    /// The same for those of the admin API.
    #[error("the descriptors of the admin API cannot be read: {0}")]
    OwnUnreadable(#[from] prost::DecodeError),
    /// There are others.
    #[error("this process has other contracts already; expected one set for each process")]
    Others,
}

struct Installed {
    contracts: Contracts,
    /// Those of the contracts and of the admin API: payloads stand inside of its messages.
    pool: DescriptorPool,
    by_path: HashMap<&'static str, &'static MethodEntry>,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Makes these the contracts of the process. The same ones may be installed again.
///
/// # Errors
/// The descriptors cannot be read, or the process has other contracts.
pub fn install(contracts: &Contracts) -> Result<(), ContractsError> {
    if INSTALLED.get().is_none() {
        let by_path = contracts.methods().map(|entry| (entry.method.path, entry)).collect();
        let _ = INSTALLED.set(Installed { contracts: *contracts, pool: with_own(contracts.descriptors)?, by_path });
    }
    let same = INSTALLED.get().is_some_and(|there| std::ptr::eq(there.contracts.services, contracts.services));
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
    let _ = install(&clients::CONTRACTS);
    INSTALLED.get()
}

/// The descriptors of the contracts and of the admin API.
pub(crate) fn pool() -> Option<&'static DescriptorPool> {
    installed().map(|installed| &installed.pool)
}

/// The contracts.
pub(crate) fn contracts() -> Contracts {
    installed().map_or(Contracts { services: &[], descriptors: &[] }, |installed| installed.contracts)
}

/// The method with this path (`/package.Service/Method`).
pub(crate) fn find(path: &str) -> Option<&'static MethodEntry> {
    installed()?.by_path.get(path).copied()
}

/// Every method that takes one request.
pub(crate) fn methods() -> impl Iterator<Item = &'static MethodEntry> {
    contracts().methods()
}
