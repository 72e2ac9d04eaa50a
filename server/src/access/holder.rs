//! What one call may do, for as long as it lasts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use transport::channel::ClientCertificate;

use super::in_force::Rules;
use super::{Denied, Principal, Role, Scope};

/// How often a long call is looked at for a proof that ran out.
const LOOK: Duration = Duration::from_secs(10);

/// What the caller of one call may do. It follows what is granted: a grant that is taken back is taken back from calls in
/// flight too.
#[derive(Clone)]
pub struct Access(Option<Arc<Holder>>);

pub(super) struct Holder {
    pub(super) principal: Principal,
    pub(super) proof: Proof,
    pub(super) rules: watch::Receiver<Arc<Rules>>,
    /// What the method takes.
    pub(super) role: Role,
    pub(super) method: String,
}

/// What proved who calls.
pub(super) enum Proof {
    /// A static token, by its hash; it may be taken out of the configuration.
    Token([u8; 32]),
    /// What is in force until then.
    Until(SystemTime),
    /// A certificate, which may run out, and whose roots may be withdrawn.
    Certificate(Arc<ClientCertificate>),
    /// The kernel says who is at the other end of a socket.
    Socket,
}

impl Access {
    /// Everything: where nobody has to prove anything.
    pub fn everything() -> Self {
        Self(None)
    }

    pub(super) fn of(holder: Holder) -> Self {
        Self(Some(Arc::new(holder)))
    }

    /// Who calls, where that is proven.
    pub fn principal(&self) -> Option<&str> {
        self.0.as_ref().map(|holder| holder.principal.name.as_str())
    }

    /// What the names of the workflows begin with for which it holds; none where it holds for all.
    pub fn granted(&self) -> Option<Vec<String>> {
        match self.scope(None) {
            Scope::Everything => None,
            Scope::Workflows(prefixes) => Some(prefixes),
            Scope::Nothing => Some(Vec::new()),
        }
    }

    /// Whether the grants are for some workflows only, so that what does not exist looks as what is not granted.
    pub fn is_limited(&self) -> bool {
        self.scope(None) != Scope::Everything
    }

    /// Whether it holds for what belongs to this workflow.
    pub fn sees(&self, workflow: &str) -> bool {
        self.scope(None).has(workflow)
    }

    /// Refuses what belongs to a workflow for which it does not hold.
    ///
    /// # Errors
    /// It does not hold.
    pub fn check(&self, workflow: &str) -> Result<(), Denied> {
        if self.sees(workflow) { Ok(()) } else { Err(self.denied()) }
    }

    /// The same where what is done takes another role than the method.
    ///
    /// # Errors
    /// It does not hold.
    pub fn check_as(&self, role: Role, workflow: &str) -> Result<(), Denied> {
        if self.scope(Some(role)).has(workflow) { Ok(()) } else { Err(self.denied()) }
    }

    /// Refuses what takes a role that the caller has for no workflow.
    ///
    /// # Errors
    /// There is none.
    pub fn check_any_as(&self, role: Role) -> Result<(), Denied> {
        match (&self.0, self.scope(Some(role))) {
            (Some(holder), Scope::Nothing) if holder.is_proven() => {
                Err(Denied::Role { principal: holder.principal.name.clone(), method: holder.method.clone(), role })
            }
            (_, Scope::Nothing) => Err(self.denied()),
            _ => Ok(()),
        }
    }

    /// Why it does not hold for something.
    pub fn denied(&self) -> Denied {
        match &self.0 {
            Some(holder) if !holder.is_proven() => Denied::NoLongerProven,
            Some(holder) => {
                Denied::Workflow { principal: holder.principal.name.clone(), method: holder.method.clone() }
            }
            None => Denied::UnknownMethod,
        }
    }

    /// Waits until it holds for this workflow no longer.
    pub async fn ended(&self, workflow: &str) -> Denied {
        let Some(holder) = &self.0 else { return std::future::pending().await };
        let mut rules = holder.rules.clone();
        while self.sees(workflow) {
            let left = match holder.proof {
                Proof::Until(until) => until.duration_since(SystemTime::now()).unwrap_or_default().min(LOOK),
                Proof::Token(_) | Proof::Certificate(_) | Proof::Socket => LOOK,
            };
            tokio::select! {
                changed = rules.changed() => if changed.is_err() { return std::future::pending().await },
                () = tokio::time::sleep(left) => {}
            }
        }
        self.denied()
    }

    fn scope(&self, role: Option<Role>) -> Scope {
        match &self.0 {
            None => Scope::Everything,
            Some(holder) if holder.is_proven() => {
                holder.rules.borrow().grants.scope(&holder.principal, role.unwrap_or(holder.role))
            }
            Some(_) => Scope::Nothing,
        }
    }
}

impl Holder {
    fn is_proven(&self) -> bool {
        match &self.proof {
            Proof::Token(hash) => self.rules.borrow().tokens.name(hash).is_some(),
            Proof::Until(until) => SystemTime::now() < *until,
            Proof::Certificate(certificate) => certificate.is_in_force(),
            Proof::Socket => true,
        }
    }
}
