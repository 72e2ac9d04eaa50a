//! The generator: turns a tree of contracts into messages, tonic clients and servers, and what each method promises,
//! without `protoc`.
//!
//! A build script calls it with the folder of the contracts:
//!
//! ```no_run
//! orchestrator_build::contracts("proto");
//! ```
//!
//! and the crate includes what it made with `server::include_contracts!()`.

use std::path::{Path, PathBuf};

mod collected;
mod debug;
mod editions;
mod generator;
mod modules;
mod names;
mod paged;
mod places;
mod policy;
mod roles;
mod rpcs;
mod sources;

/// Why contracts could not be turned into Rust.
pub type Error = Box<dyn std::error::Error>;

/// Generates everything under the folder, which is named from the manifest of the crate. For crates on `server`.
///
/// Ends the build with a message where a contract cannot be turned into Rust.
pub fn contracts(root: impl AsRef<Path>) {
    Contracts::of(root).generate();
}

/// A tree of contracts, and what is made of it.
#[derive(Clone, Debug)]
pub struct Contracts {
    root: PathBuf,
    runtime: String,
    leaves_rules: bool,
    roles: Option<String>,
}

impl Contracts {
    /// Everything under the folder.
    pub fn of(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_owned(), runtime: String::from("::server"), leaves_rules: false, roles: None }
    }

    /// The path of the crate that the generated code stands on: `::server`, or `::transport` for a crate that is no
    /// orchestrator.
    #[must_use]
    pub fn runtime(mut self, path: &str) -> Self {
        path.clone_into(&mut self.runtime);
        self
    }

    /// Writes a table of the role that each method takes, as `ROLES`. The path is that of the module with the types of the
    /// table, `Rule` and `Role`. A method without a role ends the build.
    #[must_use]
    pub fn with_roles(mut self, path: &str) -> Self {
        self.roles = Some(path.to_owned());
        self
    }

    /// Builds contracts with rules (`buf.validate`) that an orchestrator does not check, such as expressions. Each is a
    /// warning of the build, and is left to the service that receives the message. Without this it ends the build.
    #[must_use]
    pub fn leave_unchecked_rules_to_services(mut self) -> Self {
        self.leaves_rules = true;
        self
    }

    /// Generates, for a build script: what is wrong is printed, and ends the build.
    pub fn generate(&self) {
        if let Err(error) = self.generate_for_cargo() {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }

    fn generate_for_cargo(&self) -> Result<(), Error> {
        let manifest = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
        let out = PathBuf::from(std::env::var("OUT_DIR")?);
        self.generate_to(&manifest, &out.join("contracts"))
    }

    /// Generates to this folder.
    ///
    /// # Errors
    /// A contract cannot be read or turned into Rust.
    pub fn generate_to(&self, manifest: &Path, out: &Path) -> Result<(), Error> {
        let unchecked = generator::generate(&manifest.join(&self.root), &self.runtime, self.roles.as_deref(), out)?;
        if self.leaves_rules {
            unchecked.iter().for_each(|rule| println!("cargo::warning={rule}; the rule is left to the service"));
            return Ok(());
        }
        match unchecked.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let remedy =
                    "if the service checks the rule itself, call `leave_unchecked_rules_to_services()` in build.rs";
                Err(format!("{first}{more}; {remedy}").into())
            }
        }
    }
}
