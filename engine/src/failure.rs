//! The one error currency of workflows: a gRPC status and the step it came from.

use bytes::Bytes;
use std::fmt;

/// The canonical gRPC status codes (google.rpc.Code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// No error.
    Ok = 0,
    /// The call was cancelled, usually by the caller.
    Cancelled = 1,
    /// An error without a more precise code.
    Unknown = 2,
    /// The request is wrong, whatever the state of the service.
    InvalidArgument = 3,
    /// The time was over before the result arrived.
    DeadlineExceeded = 4,
    /// Something that was requested does not exist.
    NotFound = 5,
    /// Something that was to be created exists.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// A limit or quota is reached.
    ResourceExhausted = 8,
    /// The state of the service does not allow this.
    FailedPrecondition = 9,
    /// The call lost against another one.
    Aborted = 10,
    /// A value is outside of what exists.
    OutOfRange = 11,
    /// The service does not have this method.
    Unimplemented = 12,
    /// An invariant of the service is broken.
    Internal = 13,
    /// The service cannot be reached or is overloaded.
    Unavailable = 14,
    /// Data is lost or damaged.
    DataLoss = 15,
    /// The caller is not authenticated.
    Unauthenticated = 16,
}

impl Code {
    /// The code with this number; numbers that gRPC does not know are UNKNOWN, as its specification says.
    pub const fn from_i32(number: i32) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// The name as google.rpc.Code spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A typed detail of a failure: a protobuf message and its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// Full name of the message, for example `google.rpc.ErrorInfo`.
    pub type_name: String,
    /// The encoded message.
    pub value: Bytes,
}

/// Why a step or a run failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    message: String,
    details: Vec<Detail>,
    step: Option<StepRef>,
    repeated: bool,
}

/// The step that a failure came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRef {
    /// Path of the branch, empty for the root.
    pub branch: String,
    /// Place of the step on its branch, from 0.
    pub position: u32,
    /// Method path, or the name the author gave.
    pub name: String,
}

impl Failure {
    /// A failure of the workflow's own making.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, message: message.into(), details: Vec::new(), step: None, repeated: false }))
    }

    /// The same with typed details.
    #[must_use]
    pub fn with_details(mut self, details: Vec<Detail>) -> Self {
        self.0.details = details;
        self
    }

    /// The same, said to come from this step unless it names one already.
    #[must_use]
    pub fn at(mut self, step: StepRef) -> Self {
        self.0.step.get_or_insert(step);
        self
    }

    /// The same, said to come from a call that was sent before and may have had its effect then.
    #[must_use]
    pub(crate) fn repeated_if(mut self, repeated: bool) -> Self {
        self.0.repeated = repeated;
        self
    }

    /// Whether the service said NOT_FOUND or ALREADY_EXISTS to a call that was sent before: the call may have had its
    /// effect already, and what is not there, or there already, can be its doing.
    pub fn is_repeated(&self) -> bool {
        self.0.repeated
    }

    /// The status code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Typed details, as the service sent them.
    pub fn details(&self) -> &[Detail] {
        &self.0.details
    }

    /// The step it came from; none where the workflow made it.
    pub fn step(&self) -> Option<&StepRef> {
        self.0.step.as_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("details", &self.0.details.len())
            .field("step", &self.0.step)
            .finish()
    }
}

impl std::error::Error for Failure {}
