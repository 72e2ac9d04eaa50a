//! What a call is to the engine: a request, a response, and the contract of the method that answers it.

use std::time::Duration;

use crate::time::Timestamp;

/// An attempt is surely over this long after its deadline, whatever clocks and networks do.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// How often a call may be repeated. Said by the method's contract, or by the operator of a service whose contract says
/// less; never guessed from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `idempotency_level = NO_SIDE_EFFECTS`: repeated freely, nothing is recorded before it is sent.
    NoSideEffects,
    /// `idempotency_level = IDEMPOTENT`: started durably, repeated freely with the same key.
    Idempotent,
    /// Level unknown, but the service is known to honour the idempotency key: repeated within the horizon.
    Keyed {
        /// How long the service remembers a key. Every attempt has its deadline 5 s before that, so that none acts later.
        horizon: Duration,
    },
    /// Level unknown: repeated only where it was surely never sent.
    Unknown,
}

impl Level {
    /// Whether a call of this level changes something at the service, as far as its contract tells.
    pub const fn has_effects(self) -> bool {
        !matches!(self, Self::NoSideEffects)
    }

    /// Whether a call that was started then, and may have had its effect, can be made again. How long ago a start in the
    /// future was, no one knows: the service may have forgotten its key (semantics.md C1).
    pub(crate) fn may_repeat(self, started: Option<Timestamp>, now: Timestamp) -> bool {
        match self {
            Self::NoSideEffects | Self::Idempotent => true,
            Self::Keyed { horizon } => {
                started.is_none_or(|at| at <= now && now < at.after(horizon.saturating_sub(MARGIN)))
            }
            Self::Unknown => false,
        }
    }
}

/// The contract of one method that takes one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// Full name of the service, for example `guras.users.v1.UserService`.
    pub service: &'static str,
    /// Name of the method, for example `GetUser`.
    pub name: &'static str,
    /// Path on the wire, `/service/method`.
    pub path: &'static str,
    /// How often a call may be repeated.
    pub level: Level,
    /// Request field that takes the idempotency key, where the contract annotates one (AIP-155, UUID4).
    pub request_id: Option<&'static str>,
}

/// A call as a value. Generated for every method that takes one request: on the request message itself, or, where two
/// methods share a request message, on a type of the method's own that wraps it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the request of one method",
    label = "expected a message that exactly one method takes as its request",
    note = "if several methods take this message, or it is one of google.protobuf, the generator makes a type for each of \
            them: for `rpc CloseAccount(Account)` call `CloseAccountCall(account)`, and for a request of google.protobuf.Empty \
            `CloseAccountCall(())`",
    note = "if no method of the contracts takes this message, it cannot be called"
)]
pub trait Rpc: Send + 'static {
    /// The request message.
    type Request: prost::Message + 'static;
    /// The response message; where the method answers with a stream, one that repeats all its messages.
    type Response: prost::Message + Default + 'static;
    /// The contract.
    const METHOD: &'static Method;

    /// The request message to send.
    fn into_request(self) -> Self::Request;

    /// Writes the idempotency key into the request's own field where the contract annotates one and it is empty.
    fn fill_request_id(_request: &mut Self::Request, _key: &str) {}
}

/// A call that reads a list page by page, as AIP-158 describes: its request has `page_size` and `page_token`, and its
/// response has `next_page_token` and one list. Generated for every such method that has no side effects.
pub trait Paged: Rpc + Clone + Sync {
    /// One item of the list.
    type Item: Send + 'static;

    /// Returns the number of items that the request asks for; 0 if it leaves that to the service.
    fn page_size(&self) -> i32;

    /// Sets how many items the next page has at most.
    fn set_page_size(&mut self, page_size: i32);

    /// Sets the page that is read next.
    fn set_page_token(&mut self, page_token: String);

    /// Takes a page apart: its items, and the token of the next page, which is empty on the last.
    fn into_page(response: Self::Response) -> (Vec<Self::Item>, String);
}
