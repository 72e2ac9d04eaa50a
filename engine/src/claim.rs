//! The right of this replica to act for its runs, asked on its own clock right before every send.

/// Says whether the owner still holds what it claimed.
///
/// The answer is about now and the past; no one can know more (semantics.md E3, E4).
pub trait Claim: Send + Sync + std::fmt::Debug + 'static {
    /// Whether the claim is held at this moment.
    fn is_held(&self) -> bool;
}

/// A claim that cannot be lost, for tests and for calls outside a run.
#[derive(Clone, Copy, Debug)]
pub struct Always;

impl Claim for Always {
    fn is_held(&self) -> bool {
        true
    }
}
