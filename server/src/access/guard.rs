//! The check of every call before it is made: who makes it, and whether that one may.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use engine::engine::Engine;
use engine::store::Refusal;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::watch;
use tracing::warn;
use transport::channel::ClientCertificate;
use transport::channel::files::Refreshed;

use super::holder::{Access, Holder, Proof};
use super::in_force::Rules;
use super::limits::{Inside, Limits, Meters};
use super::refusals::{Refusals, UNPROVEN};
use super::{Denied, Grants, Jwt, Principal, Role, Rule, Scope, Tokens, is_name, method};
use crate::proto::ROLES;
use crate::text::cut;

/// What the names of both versions of reflection begin with. It shows contracts, and takes any grant.
const REFLECTION: &str = "/grpc.reflection.";

/// The longest reason of a refusal, in characters.
const LONGEST_WHY: usize = 300;

/// Names of a certificate that are looked at.
const MOST_NAMES: usize = 20;

/// Checks every call. Clones share what is in force.
#[derive(Clone)]
pub struct Guard(Option<Arc<Parts>>);

struct Parts {
    rules: watch::Sender<Arc<Rules>>,
    jwt: Option<Jwt>,
    expected: String,
    meters: Arc<Meters>,
    refusals: Refusals,
}

/// What the connection of a call says of its caller.
#[derive(Clone, Default)]
pub enum Shown {
    #[default]
    Nothing,
    /// A certificate that was verified.
    Certificate(Arc<ClientCertificate>),
    /// The user at the other end of a socket, as the kernel says it.
    User(u32),
}

impl Guard {
    /// Lets everybody do everything.
    pub fn open() -> Self {
        Self(None)
    }

    /// Lets those who prove who they are do what is granted to them.
    ///
    /// `expected` says to those who prove nothing how they could.
    pub fn of(tokens: Tokens, grants: Grants, jwt: Option<Jwt>, expected: &str, limits: Limits) -> Self {
        let rules = watch::Sender::new(Arc::new(Rules { tokens, grants }));
        Self(Some(Arc::new(Parts {
            rules,
            jwt,
            expected: expected.to_owned(),
            meters: Meters::new(limits),
            refusals: Refusals::default(),
        })))
    }

    /// Whether nobody has to prove anything.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Puts other tokens and grants in force, for calls in flight too. Returns whether they are others.
    pub fn replace(&self, tokens: Tokens, grants: Grants) -> bool {
        let Some(parts) = &self.0 else { return false };
        parts.rules.send_if_modified(|rules| {
            let differs = rules.tokens != tokens || rules.grants != grants;
            if differs {
                *rules = Arc::new(Rules { tokens, grants });
            }
            differs
        })
    }

    /// Looks at the files with keys again. Blocks.
    pub fn refresh(&self) -> Refreshed {
        let jwt = self.0.as_ref().and_then(|parts| parts.jwt.as_ref());
        jwt.map_or(Refreshed::Same, Jwt::refresh)
    }

    /// Counts a call that was refused because of who made it, for the audit trail. `said` is what the caller calls itself.
    pub fn refused(&self, principal: Option<&str>, path: &str, said: &str, why: &str) {
        let Some(parts) = &self.0 else { return };
        let [caller, action] = [principal.unwrap_or(UNPROVEN), method(path).unwrap_or("unknown")].map(str::to_owned);
        let said = if is_name(said) { said.to_owned() } else { String::new() };
        parts.refusals.note(Refusal { caller, said, action, why: cut(why, LONGEST_WHY).into_owned(), count: 1 });
    }

    /// Writes the refused calls to the audit trail, in one commit. What cannot be written is written with the next ones.
    pub async fn write_refusals(&self, engine: &Engine) {
        let Some(parts) = &self.0 else { return };
        let refusals = parts.refusals.take();
        if refusals.is_empty() {
            return;
        }
        if let Err(error) = engine.write_refusals(refusals.clone()).await {
            warn!(%error, "refused calls are not in the audit trail yet");
            refusals.into_iter().for_each(|refusal| parts.refusals.note(refusal));
        }
    }

    /// Reads the keys that an issuer publishes at an address, if there is one, without waiting for their time.
    ///
    /// # Errors
    /// They cannot be read; those before stay in force.
    pub async fn read_keys(&self) -> Result<(), String> {
        match self.0.as_ref().and_then(|parts| parts.jwt.as_ref()) {
            Some(jwt) => jwt.read_keys().await,
            None => Ok(()),
        }
    }

    /// Follows the keys that an issuer publishes at an address, until this is dropped.
    pub async fn follow_keys(&self) {
        match self.0.as_ref().and_then(|parts| parts.jwt.as_ref()) {
            Some(jwt) => jwt.follow().await,
            None => std::future::pending().await,
        }
    }

    /// What the caller of this method may do, and what counts the call until it is dropped.
    ///
    /// # Errors
    /// The caller has not proven who it is, takes too much, or has no grant for the method.
    pub fn admit(&self, path: &str, headers: &HeaderMap, shown: &Shown) -> Result<(Access, Option<Inside>), Denied> {
        let Some(parts) = &self.0 else { return Ok((Access::everything(), None)) };
        let (principal, proof) = parts.prove(headers, shown)?;
        let inside = parts.meters.enter(&principal.name)?;
        let rule = rule(path).ok_or(Denied::UnknownMethod)?;
        let scope = parts.rules.borrow().grants.scope(&principal, rule.role);
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        match scope {
            Scope::Everything => {}
            Scope::Workflows(_) if rule.by_workflow => {}
            Scope::Workflows(_) | Scope::Nothing => {
                return Err(Denied::Role { principal: principal.name, method, role: rule.role });
            }
        }
        let holder = Holder { principal, proof, rules: parts.rules.subscribe(), role: rule.role, method };
        Ok((Access::of(holder), Some(inside)))
    }
}

impl Parts {
    /// A token counts before what the connection shows: whoever sends one means it.
    fn prove(&self, headers: &HeaderMap, shown: &Shown) -> Result<(Principal, Proof), Denied> {
        let mut said = headers.get_all(AUTHORIZATION).iter();
        let Some(said_first) = said.next() else { return self.shown(shown) };
        if said.next().is_some() {
            return Err(Denied::BadToken("there is more than one"));
        }
        let text = said_first.to_str().map_err(|_| Denied::BadToken("it is no visible ASCII"))?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(self.no_credentials());
        }
        let token = token.trim();
        let hash = Tokens::hash(token);
        if let Some(name) = self.rules.borrow().tokens.name(&hash) {
            let principal = Principal { name: format!("token:{name}"), also: Vec::new() };
            return Ok((principal, Proof::Token(hash)));
        }
        let Some(jwt) = &self.jwt else { return Err(Denied::BadToken("it is not known")) };
        if token.matches('.').count() != 2 {
            return Err(Denied::BadToken("it is not known"));
        }
        jwt.verify(token).map(|(principal, until)| (principal, Proof::Until(until)))
    }

    fn shown(&self, shown: &Shown) -> Result<(Principal, Proof), Denied> {
        match shown {
            Shown::Nothing => Err(self.no_credentials()),
            Shown::User(user) => Ok((Principal { name: format!("unix:{user}"), also: Vec::new() }, Proof::Socket)),
            Shown::Certificate(certificate) if !certificate.is_in_force() => Err(Denied::NoLongerProven),
            Shown::Certificate(certificate) => {
                let names = certificate.names().iter().filter(|name| is_name(name)).take(MOST_NAMES);
                let mut names = names.map(|name| format!("cert:{name}"));
                let name = names.next().ok_or(Denied::NamelessCertificate)?;
                let principal = Principal { name, also: names.collect() };
                Ok((principal, Proof::Certificate(Arc::clone(certificate))))
            }
        }
    }

    fn no_credentials(&self) -> Denied {
        Denied::NoCredentials { expected: self.expected.clone() }
    }
}

/// The role that the method with this path takes; none where no contract has it.
pub fn role_of(path: &str) -> Option<Role> {
    rule(path).map(|rule| rule.role)
}

fn rule(path: &str) -> Option<Rule> {
    static BY_PATH: LazyLock<HashMap<&str, Rule>> =
        LazyLock::new(|| ROLES.iter().map(|rule| (rule.path, *rule)).collect());
    if path.starts_with(REFLECTION) {
        return Some(Rule { path: REFLECTION, role: Role::Viewer, by_workflow: true });
    }
    BY_PATH.get(path).copied()
}
