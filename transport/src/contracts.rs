//! What the generator made of a tree of contracts.

use crate::methods::MethodEntry;

/// The contracts of the services that are called. Generated as `CONTRACTS`.
#[derive(Clone, Copy, Debug)]
pub struct Contracts {
    /// The methods of every service that take one request, a slice for each.
    pub services: &'static [&'static [MethodEntry]],
    /// The descriptors as an encoded `google.protobuf.FileDescriptorSet`, with imports, options and comments.
    pub descriptors: &'static [u8],
}

impl Contracts {
    /// Every method that takes one request.
    pub fn methods(&self) -> impl Iterator<Item = &'static MethodEntry> + use<> {
        self.services.iter().copied().flatten()
    }

    /// The method with this path (`/package.Service/Method`).
    pub fn find(&self, path: &str) -> Option<&'static MethodEntry> {
        self.methods().find(|entry| entry.method.path == path)
    }
}
