//! What ended an exchange without an answer, and what that proves (semantics.md E6).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use engine::failure::{Code, Detail, Failure};
use engine::transport::{Outcome, Unsent};
use h2::Reason;
use http::StatusCode;
use tonic::Status;

use super::status::{Pushback, Stated};

/// What ended an exchange without an answer.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) origin: Origin,
    pub(crate) end: End,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: Vec<Detail>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) pushback: Option<Pushback>,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The protocol proves that the peer did not take the request.
    Proven,
    /// The peer, in a `grpc-status`.
    Stated,
    /// We, from what was seen of the connection or of HTTP.
    Inferred,
}

/// How far an exchange came, which says whether another one may help (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// We ourselves would not send it, or not wait any longer: the next attempt would end the same way.
    Withheld,
    /// The peer ended the connection in good order (GOAWAY) before it took the request, as a proxy does after a number of
    /// them: that is no failure of anything, and another connection takes it.
    LeftOut,
    /// The connection failed the request before the peer took it.
    NotTaken,
    /// The connection failed it, and whether the peer took it is known by what had been handed over.
    Broken,
    /// The peer, or something on the way, ended it before a response.
    Answered,
    /// The response had begun: however it ends, it is the answer.
    Committed,
}

impl Fault {
    fn new(origin: Origin, end: End, code: Code, message: impl Into<String>) -> Self {
        let (message, details) = (message.into(), Vec::new());
        Self { origin, end, code, message, details, retry_after: None, pushback: None }
    }

    /// We do not send it.
    pub(crate) fn withheld(code: Code, message: impl Into<String>) -> Self {
        Self::new(Origin::Proven, End::Withheld, code, message)
    }

    /// We do not wait for it any longer.
    pub(crate) fn given_up(code: Code, message: impl Into<String>) -> Self {
        Self::new(Origin::Inferred, End::Withheld, code, message)
    }

    /// An error before the peer had the request.
    pub(crate) fn unsent(error: &h2::Error, what: &str) -> Self {
        let in_order = error.is_remote() && error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        let end = if in_order { End::LeftOut } else { End::NotTaken };
        Self::new(Origin::Proven, end, Code::Unavailable, format!("{what}: {error}"))
    }

    /// A response that began cannot be used.
    pub(crate) fn inferred(code: Code, message: impl Into<String>) -> Self {
        Self::new(Origin::Inferred, End::Committed, code, message)
    }

    /// The peer said so; `begun`: after the head of a response.
    pub(crate) fn stated(stated: Stated, begun: bool) -> Self {
        let Stated { code, message, details, retry_after, pushback } = stated;
        let end = if begun { End::Committed } else { End::Answered };
        Self { origin: Origin::Stated, end, code, message, details, retry_after, pushback }
    }

    /// An error of a stream. `answered`: the response had begun.
    pub(crate) fn of_stream(error: &h2::Error, answered: bool) -> Self {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        // h2 says this of a stream only where its number is above the last one that the peer took.
        let left_out = error.is_go_away();
        if error.is_remote() && !answered && (refused || left_out) {
            return Self::unsent(error, "the peer did not take the request");
        }
        let code = if error.is_reset() { code_of_reset(error.reason()) } else { Code::Unavailable };
        let when = if answered { "while the response came in" } else { "before a response" };
        let end = match error.is_reset() {
            _ if answered => End::Committed,
            true => End::Answered,
            false => End::Broken,
        };
        Self::new(Origin::Inferred, end, code, format!("{error} {when}"))
    }

    /// A response that is not gRPC, by its HTTP status (the gRPC table).
    pub(crate) fn of_http(status: StatusCode) -> Self {
        let code = match status {
            StatusCode::BAD_REQUEST => Code::Internal,
            StatusCode::UNAUTHORIZED => Code::Unauthenticated,
            StatusCode::FORBIDDEN => Code::PermissionDenied,
            StatusCode::NOT_FOUND => Code::Unimplemented,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(Origin::Inferred, End::Answered, code, format!("HTTP status {status} without a grpc-status"))
    }

    /// The outcome. `handed`: the whole message had been handed over.
    pub(crate) fn verdict(self, handed: bool) -> Verdict {
        let Self { origin, end, code, message, details, retry_after, pushback } = self;
        let failure = Failure::new(code, message).with_details(details);
        let end = if end == End::Broken && !handed { End::NotTaken } else { end };
        let outcome = match origin {
            Origin::Stated if says_it_did_nothing(code) => Outcome::Refused(failure),
            Origin::Stated | Origin::Inferred if handed => Outcome::Ambiguous { failure, retry_after },
            // A unary request without its end is not complete.
            Origin::Proven | Origin::Stated | Origin::Inferred => Outcome::NotSent(Unsent { failure, retry_after }),
        };
        Verdict { outcome, origin, end, pushback, retry_after }
    }
}

/// The codes with which a service says that it did nothing.
fn says_it_did_nothing(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
    )
}

/// The table of the gRPC specification.
fn code_of_reset(reason: Option<Reason>) -> Code {
    match reason {
        Some(Reason::REFUSED_STREAM) => Code::Unavailable,
        Some(Reason::CANCEL) => Code::Cancelled,
        Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
        Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
        Some(Reason::STREAM_CLOSED | Reason::HTTP_1_1_REQUIRED) | None => Code::Unknown,
        Some(_) => Code::Internal,
    }
}

/// An outcome that is not an answer, and what another attempt may hope for; the source of the status that the generated
/// client hands on.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    pub(crate) origin: Origin,
    pub(crate) end: End,
    pub(crate) pushback: Option<Pushback>,
    /// When the peer asked to be called again, at the earliest, whatever the outcome.
    pub(crate) retry_after: Option<Duration>,
}

impl Verdict {
    /// A verdict of our own.
    pub(crate) fn new(outcome: Outcome, end: End) -> Self {
        Self { outcome, origin: Origin::Proven, end, pushback: None, retry_after: None }
    }

    /// The verdict behind a status, where our channel made it.
    pub fn of(status: &Status) -> Option<Self> {
        std::error::Error::source(status)?.downcast_ref::<Self>().cloned()
    }

    /// The status for the generated client.
    pub fn into_status(self) -> Status {
        let (code, message) = match self.failure() {
            Some(failure) => (failure.code(), failure.message()),
            None => (Code::Ok, ""),
        };
        let mut status = Status::new(tonic::Code::from_i32(code as i32), message);
        status.set_source(Arc::new(self));
        status
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.outcome {
            Outcome::Done(_) => None,
            Outcome::NotSent(Unsent { failure, .. })
            | Outcome::Refused(failure)
            | Outcome::Ambiguous { failure, .. } => Some(failure),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.outcome {
            Outcome::Done(_) => return f.write_str("done"),
            Outcome::NotSent(_) => "not sent",
            Outcome::Refused(_) => "refused",
            Outcome::Ambiguous { .. } => "ambiguous",
        };
        f.write_str(kind)?;
        self.failure().map_or(Ok(()), |failure| write!(f, ": {failure}"))
    }
}

impl std::error::Error for Verdict {}

/// The response ended before the message did.
pub(crate) fn cut_off() -> Fault {
    Fault::inferred(Code::Internal, "the response ended inside its message")
}
