//! The endpoints of a service as they are at the moment: what calls choose from, and what they wait for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use h2::client::SendRequest;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::balance::{Balancing, Picker, Ready};
use super::connection::{Lost, takes_requests};
use super::dial::Peer;
use super::endpoint::{Endpoint, Slot};
use super::frame::Frame;
use super::permits::{Permit, Permits};
use super::state::{ChannelState, Connectivity, EndpointState};
use super::target::Target;
use super::{ChannelConfig, Reserved};

/// The endpoints of one service.
pub(crate) struct Pool {
    name: Arc<str>,
    target: Target,
    config: ChannelConfig,
    balancing: Balancing,
    permits: Arc<Permits>,
    state: Mutex<State>,
    /// Told whenever a call that waits should look again.
    changed: Notify,
    /// Told when a call waits and nothing is under way.
    wanted: Notify,
    /// Told when the addresses may be outdated.
    outdated: Notify,
}

struct State {
    /// Whether anybody has asked for an endpoint yet.
    begun: bool,
    members: Vec<Member>,
    picker: Picker,
    /// Why the name could not be resolved the last time, and when that is tried again.
    unresolved: Option<(Noted, Instant)>,
    /// Counts errors.
    errors: u64,
}

struct Member {
    endpoint: Arc<Endpoint>,
    phase: Phase,
    error: Option<Noted>,
}

/// An error, and which one of them all it was.
#[derive(Clone)]
struct Noted {
    number: u64,
    text: String,
}

/// Where an endpoint stands.
pub(crate) enum Phase {
    Idle,
    Connecting,
    /// It takes calls, so many at a time.
    Ready {
        requests: SendRequest<Frame>,
        allowed: usize,
    },
    /// It is left alone until then; for an unknown time where it is connected and not healthy.
    Failed {
        until: Option<Instant>,
    },
}

/// What a call without an endpoint can do.
pub(crate) enum Outlook {
    /// There is one.
    Ready,
    /// Something is under way, or will be at once.
    Wait,
    /// All that can be tried has failed, and is tried again after the pause where that is known.
    Failed { pause: Option<Duration>, reason: String },
}

/// What changed with a list of addresses.
pub(crate) struct Change {
    pub(crate) added: Vec<Arc<Endpoint>>,
    pub(crate) removed: Vec<Arc<Endpoint>>,
}

impl Pool {
    pub(crate) fn new(name: &str, target: Target, config: ChannelConfig, balancing: Balancing) -> Self {
        let picker = Picker::new(balancing.policy);
        let state = State { begun: false, members: Vec::new(), picker, unresolved: None, errors: 0 };
        Self {
            name: name.into(),
            target,
            balancing,
            permits: Permits::new(config.max_in_flight),
            config,
            state: Mutex::new(state),
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

    pub(crate) fn permits(&self) -> &Arc<Permits> {
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

    /// Those who have wanted a connection until here need none any more, or see that there is none.
    pub(crate) fn answered(&self) {
        let _ = self.wanted.notified().now_or_never();
    }

    /// Waits until a failure says that the addresses may be outdated.
    pub(crate) async fn outdated(&self) {
        self.outdated.notified().await;
    }

    /// The right to one call, where an endpoint is ready.
    pub(crate) fn take(&self, permit: Permit) -> Option<Reserved> {
        let mut state = self.lock();
        loop {
            let ready = state.picker.pick()?;
            let mut requests = ready.requests.clone();
            let endpoint = Arc::clone(&ready.endpoint);
            if takes_requests(&mut requests) {
                return Some(Reserved { requests, slot: Slot::new(endpoint, permit) });
            }
            // Its driver is about to say so too; the streams that are still open keep the connection open.
            state.enter(&endpoint, Phase::Idle);
        }
    }

    /// What there is to wait for. Where nothing is under way this asks for it.
    pub(crate) fn outlook(&self) -> Outlook {
        let mut state = self.lock();
        state.begun = true;
        match state.connectivity() {
            Connectivity::Ready => Outlook::Ready,
            Connectivity::Connecting => Outlook::Wait,
            Connectivity::Idle => {
                self.wanted.notify_one();
                Outlook::Wait
            }
            Connectivity::TransientFailure => {
                let now = Instant::now();
                match state.due() {
                    Some(due) if due <= now => Outlook::Wait,
                    due => Outlook::Failed { pause: due.map(|due| due - now), reason: state.reason() },
                }
            }
        }
    }

    /// What may be shown.
    pub(crate) fn state(&self) -> ChannelState {
        let (in_flight, limit) = self.permits.used();
        let mut state = self.lock();
        state.retire();
        let show = |member: &Member| EndpointState {
            address: member.endpoint.peer().to_string(),
            connectivity: member.phase.connectivity(),
            in_flight: member.endpoint.in_flight(),
            last_error: member.error.as_ref().map(|error| error.text.clone()),
        };
        ChannelState {
            connectivity: state.connectivity(),
            endpoints: state.members.iter().map(show).collect(),
            in_flight,
            limit,
            last_error: state.last_error().map(|error| error.text.clone()),
        }
    }

    /// All endpoints, in the order of the resolver.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.lock().members.iter().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// Whether one of the endpoints is ready.
    pub(crate) fn has_ready(&self) -> bool {
        !self.lock().picker.is_empty()
    }

    /// Takes these addresses for those of the service. Endpoints that stay keep their connections; those that go take no
    /// more calls, and finish what they have.
    pub(crate) fn replace(&self, peers: Vec<Peer>) -> Change {
        let mut state = self.lock();
        state.unresolved = None;
        let mut before = std::mem::take(&mut state.members);
        let mut added = Vec::new();
        let stay_or_come = |peer: Peer| match before.iter().position(|member| *member.endpoint.peer() == peer) {
            Some(at) => before.swap_remove(at),
            None => {
                let endpoint = Endpoint::new(Arc::clone(&self.name), peer, self.target.authority().clone());
                added.push(Arc::clone(&endpoint));
                Member { endpoint, phase: Phase::Idle, error: None }
            }
        };
        state.members = peers.into_iter().map(stay_or_come).collect();
        let removed = before.into_iter().map(|member| member.endpoint).collect();
        self.rebuild(state);
        Change { added, removed }
    }

    /// Forgets the endpoints as they are, so that nothing that was begun for them is taken up any more.
    pub(crate) fn renew(&self) {
        let mut state = self.lock();
        for member in &mut state.members {
            let peer = member.endpoint.peer().clone();
            member.endpoint = Endpoint::new(Arc::clone(&self.name), peer, self.target.authority().clone());
            member.phase = Phase::Idle;
        }
        self.rebuild(state);
    }

    /// The name could not be resolved. What is known stays in use.
    pub(crate) fn unresolved(&self, lost: &Lost, pause: Duration) {
        let mut state = self.lock();
        let noted = state.note(lost.to_string());
        state.unresolved = Some((noted, Instant::now() + pause));
        drop(state);
        self.changed.notify_waiters();
    }

    /// The endpoint stands so now.
    pub(crate) fn enter(&self, endpoint: &Arc<Endpoint>, phase: Phase) {
        let mut state = self.lock();
        state.enter(endpoint, phase);
        self.rebuild(state);
    }

    /// The same with the reason. The addresses may be outdated then.
    pub(crate) fn fail(&self, endpoint: &Arc<Endpoint>, phase: Phase, reason: String) {
        let mut state = self.lock();
        let noted = state.note(reason);
        let Some(member) = state.member(endpoint) else { return };
        let known = member.error.as_ref().is_some_and(|error| error.text == noted.text);
        let (service, address, error) = (&*self.name, endpoint.peer(), &noted.text);
        // What goes on to fail in the same way is told once.
        if known || matches!(phase, Phase::Idle) {
            tracing::debug!(service, %address, error, "endpoint failed");
        } else {
            tracing::warn!(service, %address, error, "endpoint failed");
        }
        member.phase = phase;
        member.error = Some(noted);
        self.rebuild(state);
        self.outdated.notify_one();
    }

    /// The peer allows so many calls now.
    pub(crate) fn allow(&self, endpoint: &Arc<Endpoint>, peer: usize) {
        let mut state = self.lock();
        if let Some(Member { phase: Phase::Ready { allowed, .. }, .. }) = state.member(endpoint) {
            *allowed = peer;
            self.rebuild(state);
        }
    }

    /// All endpoints stand so now.
    pub(crate) fn enter_all(&self, phase: impl Fn() -> Phase) {
        let mut state = self.lock();
        for member in &mut state.members {
            member.phase = phase();
        }
        self.rebuild(state);
    }

    /// Brings what calls choose from up to date, and lets those that wait look again.
    fn rebuild(&self, mut state: MutexGuard<'_, State>) {
        state.rebuild();
        if !state.picker.is_empty() {
            self.permits.allow(state.picker.allowed());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).field("target", &self.target).finish_non_exhaustive()
    }
}

impl State {
    fn member(&mut self, endpoint: &Arc<Endpoint>) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| Arc::ptr_eq(&member.endpoint, endpoint))
    }

    /// What is said of an endpoint that is none any more is not heard.
    fn enter(&mut self, endpoint: &Arc<Endpoint>, phase: Phase) {
        let ready = matches!(phase, Phase::Ready { .. });
        let Some(member) = self.member(endpoint) else { return };
        member.phase = phase;
        if ready {
            member.error = None;
        }
        self.rebuild();
        if ready && self.picker.is_satisfied() {
            let others = self.members.iter_mut().filter(|member| !matches!(member.phase, Phase::Ready { .. }));
            others.for_each(|member| member.phase = Phase::Idle);
        }
    }

    fn rebuild(&mut self) {
        let ready = self.members.iter().filter_map(|member| match &member.phase {
            Phase::Ready { requests, allowed } => {
                Some(Ready { endpoint: Arc::clone(&member.endpoint), requests: requests.clone(), allowed: *allowed })
            }
            Phase::Idle | Phase::Connecting | Phase::Failed { .. } => None,
        });
        self.picker.choose_from(ready.collect());
    }

    /// Takes out what no longer takes requests, before it is shown.
    fn retire(&mut self) {
        let mut gone = false;
        for member in &mut self.members {
            if let Phase::Ready { requests, .. } = &member.phase
                && !takes_requests(&mut requests.clone())
            {
                member.phase = Phase::Idle;
                gone = true;
            }
        }
        if gone {
            self.rebuild();
        }
    }

    fn connectivity(&self) -> Connectivity {
        let any = |wanted| self.members.iter().any(|member| member.phase.connectivity() == wanted);
        match (self.members.is_empty(), &self.unresolved) {
            (true, Some(_)) => return Connectivity::TransientFailure,
            (true, None) if self.begun => return Connectivity::Connecting,
            (true, None) => return Connectivity::Idle,
            (false, _) => {}
        }
        let order = [Connectivity::Ready, Connectivity::Connecting, Connectivity::Idle];
        order.into_iter().find(|wanted| any(*wanted)).unwrap_or(Connectivity::TransientFailure)
    }

    /// When something that has failed is tried again, as far as that is known.
    fn due(&self) -> Option<Instant> {
        match &self.unresolved {
            Some((_, due)) if self.members.is_empty() => Some(*due),
            _ => self.members.iter().filter_map(|member| member.phase.until()).min(),
        }
    }

    fn note(&mut self, text: String) -> Noted {
        self.errors += 1;
        Noted { number: self.errors, text }
    }

    fn last_error(&self) -> Option<&Noted> {
        let of_members = self.members.iter().filter_map(|member| member.error.as_ref());
        // Under `pick_first` the others do not matter while one is ready.
        let of_members = of_members.filter(|_| !self.picker.is_satisfied());
        let of_name = self.unresolved.as_ref().map(|(noted, _)| noted);
        of_members.chain(of_name).max_by_key(|noted| noted.number)
    }

    /// Why no endpoint is ready.
    fn reason(&self) -> String {
        let latest = self.members.iter().filter_map(|member| Some((member, member.error.as_ref()?)));
        match (latest.max_by_key(|(_, error)| error.number), &self.unresolved) {
            (Some((_, error)), _) if self.members.len() == 1 => error.text.clone(),
            (Some((member, error)), _) => {
                let (count, peer) = (self.members.len(), member.endpoint.peer());
                format!("none of {count} endpoints is ready, the last one tried is {peer}: {}", error.text)
            }
            (None, Some((error, _))) => error.text.clone(),
            (None, None) => String::from("not connected"),
        }
    }
}

impl Phase {
    fn connectivity(&self) -> Connectivity {
        match self {
            Self::Idle => Connectivity::Idle,
            Self::Connecting => Connectivity::Connecting,
            Self::Ready { .. } => Connectivity::Ready,
            Self::Failed { .. } => Connectivity::TransientFailure,
        }
    }

    fn until(&self) -> Option<Instant> {
        match self {
            Self::Failed { until } => *until,
            Self::Idle | Self::Connecting | Self::Ready { .. } => None,
        }
    }
}
