//! The endpoints of a service as all may see and change them: calls choose from them and wait for them, the task of the
//! channel and its connections report what happens to them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ChannelConfig;
use super::balancing::Balancing;
use super::endpoint::{Endpoint, Slot};
use super::lost::Lost;
use super::peer::Peer;
use super::permits::{Permit, Permits};
use super::reserved::Reserved;
use super::state::ChannelState;
use super::target::Target;

mod members;

use members::{Change, Members};
pub(crate) use members::{Outlook, Phase};

/// The endpoints of one service.
pub(crate) struct Pool {
    name: Arc<str>,
    target: Target,
    config: ChannelConfig,
    balancing: Balancing,
    permits: Arc<Permits>,
    members: Mutex<Members>,
    /// Told whenever a call that waits should look again.
    changed: Notify,
    /// Told when a call waits and nothing is under way.
    wanted: Notify,
    /// Told when the addresses may be outdated.
    outdated: Notify,
}

impl Pool {
    pub(crate) fn new(name: &str, target: Target, config: ChannelConfig, balancing: Balancing) -> Self {
        let (name, permits) = (Arc::from(name), Permits::new(config.max_in_flight));
        let endpoint = {
            let (name, permits) = (Arc::clone(&name), Arc::clone(&permits));
            let (authority, identity) = (target.authority().clone(), config.identity.clone());
            move |peer| Endpoint::new(Arc::clone(&name), peer, &authority, identity.clone(), Arc::clone(&permits))
        };
        let members = Members::new(balancing.policy, endpoint);
        Self {
            name,
            target,
            balancing,
            permits,
            config,
            members: Mutex::new(members),
            changed: Notify::new(),
            wanted: Notify::new(),
            outdated: Notify::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn config(&self) -> &ChannelConfig {
        &self.config
    }

    pub(crate) fn balancing(&self) -> &Balancing {
        &self.balancing
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Told whenever a call that waits should look again.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Waits until a call needs a connection and none is under way.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Those who have wanted a connection until here have one, or see that they get none.
    pub(crate) fn answered(&self) {
        let _ = self.wanted.notified().now_or_never();
    }

    /// Waits until a failure says that the addresses may be outdated.
    pub(crate) async fn outdated(&self) {
        self.outdated.notified().await;
    }

    /// The right to one call, where an endpoint is ready.
    pub(crate) fn take(&self, permit: Permit<'_>) -> Option<Reserved> {
        let mut members = self.lock();
        let (endpoint, requests) = members.pick()?;
        // Counted before the next call chooses.
        Some(Reserved { requests, slot: Slot::new(endpoint, permit) })
    }

    /// What a call can do where it cannot have an endpoint immediately. If nothing is under way, this asks for it.
    pub(crate) fn outlook(&self) -> Outlook {
        let outlook = self.lock().outlook(Instant::now());
        if outlook == Outlook::Idle {
            self.wanted.notify_one();
        }
        outlook
    }

    /// What may be shown.
    pub(crate) fn state(&self) -> ChannelState {
        let (in_flight, limit) = self.permits.used();
        let (connectivity, endpoints, last_error) = self.lock().show();
        ChannelState { connectivity, endpoints, in_flight, limit, last_error }
    }

    /// All endpoints, in the order of the resolver.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.lock().endpoints()
    }

    /// Whether one of the endpoints is ready.
    pub(crate) fn has_ready(&self) -> bool {
        self.lock().allowed().is_some()
    }

    /// Takes these addresses for those of the service. Endpoints that stay keep their connections; those that go take no
    /// more calls, and finish what they have.
    pub(crate) fn replace(&self, peers: Vec<Peer>) -> Change {
        let mut members = self.lock();
        let change = members.replace(peers);
        self.tell(members);
        change
    }

    /// Forgets where the endpoints stand, so that nothing that was begun for them is taken up any more.
    pub(crate) fn renew(&self) {
        let mut members = self.lock();
        members.renew();
        self.tell(members);
    }

    /// The name could not be resolved. What is known stays in use.
    pub(crate) fn unresolved(&self, lost: &Lost, pause: Duration) {
        let mut members = self.lock();
        // What continues to fail in the same way is logged once.
        let news = members.unresolved(lost.to_string(), Instant::now() + pause);
        self.tell(members);
        let (service, target) = (&*self.name, &self.target);
        if news {
            tracing::warn!(service, %target, error = %lost, "cannot resolve");
        } else {
            tracing::debug!(service, %target, error = %lost, "cannot resolve");
        }
    }

    /// The endpoint stands so now. What is said of one that is gone is not heard.
    pub(crate) fn enter(&self, endpoint: &Arc<Endpoint>, phase: Phase) {
        let mut members = self.lock();
        members.enter(endpoint, phase);
        self.tell(members);
    }

    /// All endpoints stand so now.
    pub(crate) fn enter_all(&self, phase: impl Fn() -> Phase) {
        let mut members = self.lock();
        members.enter_all(phase);
        self.tell(members);
    }

    /// The endpoint stands so now, and for that reason. The addresses may be outdated then.
    pub(crate) fn fail(&self, endpoint: &Arc<Endpoint>, phase: Phase, reason: String) {
        let mut members = self.lock();
        let left_alone = matches!(phase, Phase::Failed(_));
        let news = members.fail(endpoint, phase, reason.clone()) && left_alone;
        self.tell(members);
        self.outdated.notify_one();
        let (service, address) = (&*self.name, endpoint.peer());
        if news {
            tracing::warn!(service, %address, error = reason, "endpoint failed");
        } else {
            tracing::debug!(service, %address, error = reason, "endpoint failed");
        }
    }

    /// The peer allows so many calls now.
    pub(crate) fn allow(&self, endpoint: &Arc<Endpoint>, peer: usize) {
        let mut members = self.lock();
        members.allow(endpoint, peer);
        self.tell(members);
    }

    /// Lets calls in flight be as many as the endpoints allow, and those that wait look again.
    fn tell(&self, members: MutexGuard<'_, Members>) {
        if let Some(allowed) = members.allowed() {
            self.permits.allow(allowed);
        }
        drop(members);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).field("target", &self.target).finish_non_exhaustive()
    }
}
