//! Why a call is refused before it is made.

use std::time::Duration;

use super::Role;

/// Says nothing of a credential, and nothing of what the caller may not see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing says who calls.
    #[error("the call does not say who makes it; expected {expected}")]
    NoCredentials {
        /// How callers prove who they are here.
        expected: String,
    },
    /// What says it does not prove it.
    #[error("the bearer token is not accepted: {0}")]
    BadToken(&'static str),
    /// The certificate says nothing of who shows it.
    #[error(
        "the certificate of the caller has no name; expected a DNS name or a URI among its subject alternative names"
    )]
    NamelessCertificate,
    /// What proved it does so no longer.
    #[error("the proof of who makes the call is no longer in force")]
    NoLongerProven,
    /// The caller has no grant that is enough.
    #[error("{principal} may not call {method}; expected a grant of the role {}", .role.name())]
    Role {
        /// Who calls.
        principal: String,
        /// The name of the method.
        method: String,
        /// What it takes.
        role: Role,
    },
    /// The grants of the caller do not hold for what it names; whether that exists is not said.
    #[error("{principal} may not call {method} for this; it is of a workflow that is not granted, or does not exist")]
    Workflow {
        /// Who calls.
        principal: String,
        /// The name of the method.
        method: String,
    },
    /// The caller takes as much as one caller may.
    #[error("{principal} makes {what}; ask again in {retry:?}")]
    TooMuch {
        /// Who calls.
        principal: String,
        /// What is too much.
        what: String,
        /// When to come back.
        retry: Duration,
    },
    /// No contract has the method.
    #[error("there is no such method")]
    UnknownMethod,
}

impl Denied {
    /// Who called, if that was proven.
    pub fn principal(&self) -> Option<&str> {
        match self {
            Self::Role { principal, .. } | Self::Workflow { principal, .. } | Self::TooMuch { principal, .. } => {
                Some(principal)
            }
            Self::NoCredentials { .. }
            | Self::BadToken(_)
            | Self::NamelessCertificate
            | Self::NoLongerProven
            | Self::UnknownMethod => None,
        }
    }
}
