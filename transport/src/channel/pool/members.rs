//! The endpoints of a channel, where each of them stands, and what follows for the channel as a whole.

use std::sync::Arc;
use std::time::Duration;

use h2::client::SendRequest;
use tokio::time::Instant;

use crate::channel::balancing::BalancingPolicy;
use crate::channel::connection::takes_requests;
use crate::channel::endpoint::Endpoint;
use crate::channel::frame::Frame;
use crate::channel::peer::Peer;
use crate::channel::picker::{Picker, Ready};
use crate::channel::state::{Connectivity, EndpointState};

pub(crate) struct Members {
    endpoint: Box<dyn Fn(Peer) -> Arc<Endpoint> + Send + Sync>,
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
    /// It takes calls over this connection, so many at a time.
    Ready(SendRequest<Frame>, usize),
    /// It is left alone until then; for an unknown time where it is connected and not healthy.
    Failed(Option<Instant>),
}

/// What a call without an endpoint can do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// There is one.
    Ready,
    /// Something is under way, or will be immediately.
    Wait,
    /// Nothing is under way, and something would be if it were asked for.
    Idle,
    /// All that can be tried has failed, and is tried again after the pause where that is known.
    Failed { pause: Option<Duration>, reason: String },
}

/// What a new list of addresses changed.
pub(crate) struct Change {
    pub(crate) added: Vec<Arc<Endpoint>>,
    pub(crate) removed: Vec<Arc<Endpoint>>,
}

impl Members {
    /// None yet; `endpoint` makes one of an address.
    pub(crate) fn new(
        policy: BalancingPolicy,
        endpoint: impl Fn(Peer) -> Arc<Endpoint> + Send + Sync + 'static,
    ) -> Self {
        let (members, picker) = (Vec::new(), Picker::new(policy));
        Self { endpoint: Box::new(endpoint), begun: false, members, picker, unresolved: None, errors: 0 }
    }

    /// All endpoints, in the order of the resolver.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.members.iter().map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// The endpoint of the next call, with its connection.
    pub(crate) fn pick(&mut self) -> Option<(Arc<Endpoint>, SendRequest<Frame>)> {
        loop {
            let ready = self.picker.pick()?;
            let (endpoint, mut requests) = (Arc::clone(&ready.endpoint), ready.requests.clone());
            if takes_requests(&mut requests) {
                return Some((endpoint, requests));
            }
            // Its driver is about to say so too. The streams that are still open keep the connection open.
            self.enter(&endpoint, Phase::Idle);
        }
    }

    /// Calls that all endpoints that are ready allow together; none where none is.
    pub(crate) fn allowed(&self) -> Option<usize> {
        self.picker.allowed()
    }

    pub(crate) fn replace(&mut self, peers: Vec<Peer>) -> Change {
        self.unresolved = None;
        let mut before = std::mem::take(&mut self.members);
        let mut added = Vec::new();
        for peer in peers {
            match before.iter().position(|member| *member.endpoint.peer() == peer) {
                Some(at) => self.members.push(before.swap_remove(at)),
                None => {
                    let endpoint = (self.endpoint)(peer);
                    added.push(Arc::clone(&endpoint));
                    self.members.push(Member { endpoint, phase: Phase::Idle, error: None });
                }
            }
        }
        self.rebuild();
        Change { added, removed: before.into_iter().map(|member| member.endpoint).collect() }
    }

    /// Puts new endpoints in the place of all, so that what is still said of the old ones is not heard.
    pub(crate) fn renew(&mut self) {
        for member in &mut self.members {
            (member.endpoint, member.phase) = ((self.endpoint)(member.endpoint.peer().clone()), Phase::Idle);
        }
        self.rebuild();
    }

    pub(crate) fn enter(&mut self, endpoint: &Arc<Endpoint>, phase: Phase) {
        let Some(member) = self.member(endpoint) else { return };
        let ready = matches!(phase, Phase::Ready(..));
        member.phase = phase;
        if ready {
            member.error = None;
        }
        self.rebuild();
        if ready && self.picker.is_satisfied() {
            let others = self.members.iter_mut().filter(|member| !Arc::ptr_eq(&member.endpoint, endpoint));
            others.for_each(|member| member.phase = Phase::Idle);
        }
    }

    pub(crate) fn enter_all(&mut self, phase: impl Fn() -> Phase) {
        self.members.iter_mut().for_each(|member| member.phase = phase());
        self.rebuild();
    }

    /// Says whether this error is another one than the last one of the endpoint.
    pub(crate) fn fail(&mut self, endpoint: &Arc<Endpoint>, phase: Phase, reason: String) -> bool {
        let noted = self.note(reason);
        let Some(member) = self.member(endpoint) else { return false };
        member.phase = phase;
        let known = member.error.as_ref().is_some_and(|error| error.text == noted.text);
        member.error = Some(noted);
        self.rebuild();
        !known
    }

    pub(crate) fn allow(&mut self, endpoint: &Arc<Endpoint>, peer: usize) {
        if let Some(Member { phase: Phase::Ready(_, allowed), .. }) = self.member(endpoint) {
            *allowed = peer;
            self.rebuild();
        }
    }

    /// What is known of the name stays in use. Says whether this error is another one than the last one.
    pub(crate) fn unresolved(&mut self, reason: String, due: Instant) -> bool {
        let noted = self.note(reason);
        let known = self.unresolved.as_ref().is_some_and(|(last, _)| last.text == noted.text);
        self.unresolved = Some((noted, due));
        !known
    }

    pub(crate) fn outlook(&mut self, now: Instant) -> Outlook {
        self.begun = true;
        match self.connectivity() {
            Connectivity::Ready => Outlook::Ready,
            Connectivity::Connecting => Outlook::Wait,
            Connectivity::Idle => Outlook::Idle,
            Connectivity::TransientFailure => match self.due() {
                Some(due) if due <= now => Outlook::Wait,
                due => Outlook::Failed { pause: due.map(|due| due - now), reason: self.reason() },
            },
        }
    }

    /// What may be shown; first of all, what no longer takes requests is taken out.
    pub(crate) fn show(&mut self) -> (Connectivity, Vec<EndpointState>, Option<String>) {
        for member in &mut self.members {
            if let Phase::Ready(requests, _) = &member.phase
                && !takes_requests(&mut requests.clone())
            {
                member.phase = Phase::Idle;
            }
        }
        self.rebuild();
        let endpoints = self.members.iter().map(|Member { endpoint, phase, error }| EndpointState {
            address: endpoint.peer().to_string(),
            connectivity: phase.connectivity(),
            in_flight: endpoint.in_flight(),
            last_error: error.as_ref().map(|error| error.text.clone()),
        });
        (self.connectivity(), endpoints.collect(), self.last_error())
    }

    /// None for an endpoint that was removed.
    fn member(&mut self, endpoint: &Arc<Endpoint>) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| Arc::ptr_eq(&member.endpoint, endpoint))
    }

    fn rebuild(&mut self) {
        let ready = self.members.iter().filter_map(|member| match &member.phase {
            Phase::Ready(requests, allowed) => {
                Some(Ready { endpoint: Arc::clone(&member.endpoint), requests: requests.clone(), allowed: *allowed })
            }
            Phase::Idle | Phase::Connecting | Phase::Failed(_) => None,
        });
        self.picker.choose_from(ready.collect());
    }

    fn connectivity(&self) -> Connectivity {
        let any = |wanted| self.members.iter().any(|member| member.phase.connectivity() == wanted);
        match (self.members.is_empty(), &self.unresolved) {
            (true, Some(_)) => Connectivity::TransientFailure,
            (true, None) if self.begun => Connectivity::Connecting,
            (true, None) => Connectivity::Idle,
            (false, _) => {
                let order = [Connectivity::Ready, Connectivity::Connecting, Connectivity::Idle];
                order.into_iter().find(|wanted| any(*wanted)).unwrap_or(Connectivity::TransientFailure)
            }
        }
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

    fn last_error(&self) -> Option<String> {
        let of_members = self.members.iter().filter_map(|member| member.error.as_ref());
        // Under `pick_first` the others do not matter while one is ready.
        let of_members = of_members.filter(|_| !self.picker.is_satisfied());
        let of_name = self.unresolved.as_ref().map(|(noted, _)| noted);
        of_members.chain(of_name).max_by_key(|noted| noted.number).map(|noted| noted.text.clone())
    }

    /// Why no endpoint is ready.
    fn reason(&self) -> String {
        let failed = self.members.iter().filter_map(|member| Some((member, member.error.as_ref()?)));
        match (failed.max_by_key(|(_, error)| error.number), &self.unresolved) {
            (Some((_, error)), _) if self.members.len() == 1 => error.text.clone(),
            (Some((member, error)), _) => {
                let (count, peer) = (self.members.len(), member.endpoint.peer());
                format!("none of {count} endpoints is ready, the last one that failed is {peer}: {}", error.text)
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
            Self::Ready(..) => Connectivity::Ready,
            Self::Failed(_) => Connectivity::TransientFailure,
        }
    }

    fn until(&self) -> Option<Instant> {
        match self {
            Self::Failed(until) => *until,
            Self::Idle | Self::Connecting | Self::Ready(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;

    use super::*;
    use crate::channel::identity::Identity;
    use crate::channel::permits::Permits;

    const SECOND: Duration = Duration::from_secs(1);

    fn of(peers: &[u16]) -> Members {
        let (authority, permits) = (Authority::from_static("users:1"), Permits::new(1));
        let mut members = Members::new(BalancingPolicy::RoundRobin, move |peer| {
            Endpoint::new("users".into(), peer, &authority, Identity::default(), Arc::clone(&permits))
        });
        members.replace(listed(peers));
        members
    }

    fn listed(peers: &[u16]) -> Vec<Peer> {
        peers.iter().map(|port| Peer::Tcp(([10, 0, 0, 1], *port).into())).collect()
    }

    fn failed(pause: Option<Duration>, reason: &str) -> Outlook {
        Outlook::Failed { pause, reason: reason.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn without_addresses_a_call_waits_for_the_first_answer() {
        let (mut members, now) = (of(&[]), Instant::now());
        assert_eq!(members.show().0, Connectivity::Idle);
        assert_eq!(members.outlook(now), Outlook::Wait);
        assert_eq!(members.show().0, Connectivity::Connecting);
        assert!(members.unresolved(String::from("no name"), now + SECOND));
        assert!(!members.unresolved(String::from("no name"), now + SECOND));
        assert_eq!(members.outlook(now), failed(Some(SECOND), "no name"));
        // It is about to be asked again.
        assert_eq!(members.outlook(now + SECOND), Outlook::Wait);
        members.replace(listed(&[1]));
        assert_eq!((members.outlook(now), members.show().2), (Outlook::Idle, None));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_fail_while_all_endpoints_have_failed_and_wait_while_one_is_tried() {
        let (mut members, now) = (of(&[1, 2]), Instant::now());
        let endpoints = members.endpoints();
        members.enter(&endpoints[0], Phase::Connecting);
        assert_eq!(members.outlook(now), Outlook::Wait);
        assert!(members.fail(&endpoints[0], Phase::Failed(Some(now + 3 * SECOND)), String::from("refused")));
        assert_eq!(members.outlook(now), Outlook::Idle);
        assert!(members.fail(&endpoints[1], Phase::Failed(Some(now + 2 * SECOND)), String::from("silent")));
        let reason = "none of 2 endpoints is ready, the last one that failed is 10.0.0.1:2: silent";
        assert_eq!(members.outlook(now), failed(Some(2 * SECOND), reason));
        assert_eq!(members.outlook(now + 2 * SECOND), Outlook::Wait);

        // What continues to fail in the same way is no news.
        assert!(!members.fail(&endpoints[1], Phase::Failed(None), String::from("silent")));
        assert!(!members.fail(&endpoints[0], Phase::Failed(None), String::from("refused")));
        assert_eq!(members.show().2.as_deref(), Some("refused"));
        assert!(matches!(members.outlook(now), Outlook::Failed { pause: None, .. }));
        members.enter(&endpoints[0], Phase::Connecting);
        assert_eq!(members.outlook(now), Outlook::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_that_stay_are_the_same_and_what_is_gone_is_not_heard() {
        let mut members = of(&[1, 2]);
        let before = members.endpoints();
        members.enter_all(|| Phase::Connecting);
        let change = members.replace(listed(&[3, 2]));
        let after = members.endpoints();
        assert!(Arc::ptr_eq(&before[1], &after[1]));
        assert!(Arc::ptr_eq(&change.added[0], &after[0]) && Arc::ptr_eq(&change.removed[0], &before[0]));
        assert_eq!((change.added.len(), change.removed.len()), (1, 1));
        let stands =
            |members: &mut Members| members.show().1.iter().map(|state| state.connectivity).collect::<Vec<_>>();
        assert_eq!(stands(&mut members), [Connectivity::Idle, Connectivity::Connecting]);

        assert!(!members.fail(&before[0], Phase::Failed(None), String::from("late")));
        members.renew();
        members.enter(&after[1], Phase::Connecting);
        assert_eq!(stands(&mut members), [Connectivity::Idle, Connectivity::Idle]);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_are_known_outlast_a_name_that_is_not() {
        let (mut members, now) = (of(&[1]), Instant::now());
        members.unresolved(String::from("no name"), now + SECOND);
        assert_eq!(members.outlook(now), Outlook::Idle);
        assert_eq!(members.show().2.as_deref(), Some("no name"));
        members.replace(listed(&[1]));
        assert_eq!(members.show().2, None);
    }
}
