//! Who may call what on the admin API: how callers prove who they are, what is granted to them, and the check of each call.
//!
//! It fails closed. A method that has no role is not served, a caller without a grant may do nothing, and a grant of some
//! workflows holds for as long as a call lasts. Without any way to prove oneself, everybody who reaches the listener may
//! do everything: that is for loopback.

use serde::{Deserialize, Serialize};

use crate::text::echo;

mod denied;
mod grants;
mod guard;
mod holder;
mod in_force;
mod jwks;
mod jwt;
mod limits;
mod refusals;
mod tokens;

pub use denied::Denied;
pub use grants::{Grant, Grants, Scope};
pub use guard::{Guard, Shown, role_of};
pub use holder::Access;
pub use jwt::{Algorithm, Jwt, JwtConfig};
pub use limits::{Inside, Limits};
pub use tokens::{StaticToken, Tokens};

/// What a caller may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Starts, steers and ends runs in an orderly way.
    Operator,
    /// Does what cannot be undone, and changes schedules.
    Admin,
}

impl Role {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl TryFrom<String> for Role {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let known = [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.name() == word);
        known.ok_or_else(|| format!("{} is no role; expected viewer, operator or admin", echo(&word)))
    }
}

/// The role that one method takes, as its contract says it; the build makes a table of these.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The path of a call.
    pub path: &'static str,
    /// The least role.
    pub role: Role,
    /// Whether a grant of some workflows is enough.
    pub by_workflow: bool,
}

/// Who calls, as it was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Begins with how it was proven: `token:`, `jwt:`, `cert:` or `unix:`. So no way can take the names of another.
    pub name: String,
    /// To whom else grants may be, with their kinds too: the groups that a JWT names, the further names of a certificate.
    pub also: Vec<String>,
}

/// The longest name of a principal, and of a group; the audit trail keeps it.
const LONGEST_NAME: usize = 200;

/// The name of the method with this path; none where no contract has it.
pub(crate) fn method(path: &str) -> Option<&str> {
    role_of(path).and_then(|_| path.rsplit('/').next())
}

/// Whether a text can be the name of a principal or a group: it is shown in logs and lists.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
