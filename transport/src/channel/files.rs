//! Values that follow files, for others that are configured with keys and certificates.

pub use super::identity::{Content, Contents, IdentityMistake as FileMistake, Refreshed, Reloaded, Source};
