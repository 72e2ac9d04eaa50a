//! What is in force, and may change while calls are in flight.

use super::{Grants, Tokens};

#[derive(Default)]
pub(super) struct Rules {
    pub(super) tokens: Tokens,
    pub(super) grants: Grants,
}
