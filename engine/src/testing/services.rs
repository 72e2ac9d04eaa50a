//! Services that answer as a test says, and count what arrives before they deduplicate it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::Probe;
use crate::decision::MARGIN;
use crate::failure::{Code, Failure};
use crate::rpc::{Level, Rpc};
use crate::transport::{Attempt, Outage, Outcome, Reservation, Reserved, Reserving, Transport, Unsent};

/// What comes instead of the plain answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Nothing was sent.
    NotSent,
    /// The service refuses.
    Refuse(Code),
    /// The service acts, and its answer is lost.
    ActAndBreak(Code),
    /// The connection breaks, and the service acts this much later all the same; within the time that an attempt may
    /// be under way.
    ActLater(Code, Duration),
    /// The connection breaks before the service acts; the caller cannot know.
    BreakFirst(Code),
    /// The service acts and answers after this long.
    Slow(Duration),
    /// The service acts and answers, and then its connection breaks: of all else that it was asked at the time nobody can
    /// know.
    AnswerAndBreak,
    /// The service never answers and never acts.
    Hang,
}

/// One request that reached a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Method path.
    pub method: &'static str,
    pub key: Option<Uuid>,
    pub run: Uuid,
    pub attempt: u32,
    pub request: Bytes,
    /// When it arrived.
    pub at: Instant,
}

type Layer = dyn Fn(Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync;
type Handler = dyn Fn(&Arrival) -> Result<Bytes, Failure> + Send + Sync;

/// Fake services behind the transport port. Clones share everything.
#[derive(Clone, Default)]
pub struct Services(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    handlers: HashMap<&'static str, Arc<Handler>>,
    /// How a key is encoded in the request field that takes it, where a method has one.
    request_ids: HashMap<&'static str, fn(Uuid) -> Vec<u8>>,
    /// By service, told when its connection breaks.
    connections: HashMap<String, Arc<Notify>>,
    scripts: HashMap<&'static str, VecDeque<Reply>>,
    always: HashMap<&'static str, Reply>,
    levels: HashMap<&'static str, Level>,
    answers: HashMap<Uuid, Bytes>,
    arrivals: Vec<Arrival>,
    effects: Vec<Arrival>,
    outage: watch::Sender<Option<Outage>>,
    layer: Option<Arc<Layer>>,
}

impl Services {
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a method answers. A method that nothing is said of is UNIMPLEMENTED.
    #[must_use]
    pub fn on<R: Rpc<Request: Default>>(
        self,
        answer: impl Fn(R::Request) -> Result<R::Response, Failure> + Send + Sync + 'static,
    ) -> Self {
        self.on_arrival::<R>(move |_, request| answer(request))
    }

    /// The same for a service that looks at how the request came, such as under which key.
    #[must_use]
    pub fn on_arrival<R: Rpc<Request: Default>>(
        self,
        answer: impl Fn(&Arrival, R::Request) -> Result<R::Response, Failure> + Send + Sync + 'static,
    ) -> Self {
        let handler = move |arrival: &Arrival| {
            let request = R::Request::decode(arrival.request.clone())
                .map_err(|error| Failure::new(Code::InvalidArgument, error.to_string()))?;
            answer(arrival, request).map(|response| response.encode_to_vec().into())
        };
        let mut inner = self.lock();
        inner.handlers.insert(R::METHOD.path, Arc::new(handler));
        if R::METHOD.request_id.is_some() {
            inner.request_ids.insert(R::METHOD.path, request_id::<R>);
        }
        drop(inner);
        self
    }

    /// A method that grants everything, with an empty answer.
    #[must_use]
    pub fn grants<R: Rpc<Request: Default>>(self) -> Self {
        self.on::<R>(|_| Ok(R::Response::default()))
    }

    /// A method that refuses everything with this code.
    #[must_use]
    pub fn refuses<R: Rpc<Request: Default>>(self, code: Code) -> Self {
        self.on::<R>(move |_| Err(Failure::new(code, "refused")))
    }

    /// Puts a transport of the test's own between every replica and the services.
    #[must_use]
    pub fn behind(self, layer: impl Fn(Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync + 'static) -> Self {
        self.lock().layer = Some(Arc::new(layer));
        self
    }

    /// What happens to the next calls of a method, one after the other, before it answers plainly again.
    pub fn script<R: Rpc>(&self, replies: impl IntoIterator<Item = Reply>) {
        self.lock().scripts.entry(R::METHOD.path).or_default().extend(replies);
    }

    /// What happens to every call of a method from now on; none for its plain answer.
    pub fn always<R: Rpc>(&self, reply: Option<Reply>) {
        let mut inner = self.lock();
        match reply {
            Some(reply) => inner.always.insert(R::METHOD.path, reply),
            None => inner.always.remove(R::METHOD.path),
        };
    }

    /// Every method answers plainly from now on, whatever was said before.
    pub fn calm(&self) {
        let mut inner = self.lock();
        inner.scripts.clear();
        inner.always.clear();
    }

    /// What is known of how often calls of a method may be repeated, from now on; none for what its contract says.
    pub fn level<R: Rpc>(&self, level: Option<Level>) {
        let mut inner = self.lock();
        match level {
            Some(level) => inner.levels.insert(R::METHOD.path, level),
            None => inner.levels.remove(R::METHOD.path),
        };
    }

    /// From now on the services are down and are not called, until they are brought back.
    pub fn take_down(&self, error: &str) {
        let outage = Outage { service: Arc::from("test"), since: Instant::now(), error: error.to_owned() };
        self.lock().outage.send_replace(Some(outage));
    }

    /// The services are called again, by all who wait at once.
    pub fn bring_back(&self) {
        self.lock().outage.send_replace(None);
    }

    /// Calls that wait for the services to come back.
    pub fn waiting(&self) -> usize {
        self.lock().outage.receiver_count()
    }

    /// Every request that reached a service, before deduplication.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().arrivals.clone()
    }

    /// Requests of a method that reached its service, before deduplication.
    pub fn arrivals_of<R: Rpc>(&self) -> usize {
        self.lock().arrivals.iter().filter(|arrival| arrival.method == R::METHOD.path).count()
    }

    /// Times a method acted, after deduplication by key.
    pub fn effects_of<R: Rpc>(&self) -> usize {
        self.lock().effects.iter().filter(|arrival| arrival.method == R::METHOD.path).count()
    }

    /// For every effect, by method and request as code made it: the keys under which it arrived and how often it was
    /// applied.
    pub fn identities(&self) -> BTreeMap<(&'static str, Bytes), Identity> {
        let inner = self.lock();
        let mut identities: BTreeMap<_, Identity> = BTreeMap::new();
        for arrival in inner.arrivals.iter().filter(|arrival| arrival.key.is_some()) {
            let identity = identities.entry((arrival.method, inner.as_made(arrival))).or_default();
            identity.arrivals += 1;
            if let Some(key) = arrival.key
                && !identity.keys.contains(&key)
            {
                identity.keys.push(key);
            }
        }
        for effect in &inner.effects {
            if let Some(identity) = identities.get_mut(&(effect.method, inner.as_made(effect))) {
                identity.applied += 1;
            }
        }
        identities
    }

    /// This world seen from a replica: its calls pass a probe.
    pub(crate) fn seen_by(&self, probe: Probe) -> Arc<dyn Transport> {
        let probed: Arc<dyn Transport> = Arc::new(Probed { services: self.clone(), probe });
        let layer = self.lock().layer.clone();
        match layer {
            Some(layer) => layer(probed),
            None => probed,
        }
    }

    fn next_reply(&self, method: &str) -> Option<Reply> {
        let mut inner = self.lock();
        let scripted = inner.scripts.get_mut(method).and_then(VecDeque::pop_front);
        scripted.or_else(|| inner.always.get(method).cloned())
    }

    /// The connection of the service that has this method.
    fn connection(&self, method: &str) -> Arc<Notify> {
        let service = method.rsplit_once('/').map_or(method, |(service, _)| service);
        Arc::clone(self.lock().connections.entry(service.to_owned()).or_default())
    }

    /// The service acts, once for every key.
    fn act(&self, arrival: Arrival) -> Result<Bytes, Failure> {
        let arrival = Arrival { at: Instant::now(), ..arrival };
        let handler = {
            let mut inner = self.lock();
            inner.arrivals.push(arrival.clone());
            if let Some(key) = arrival.key
                && let Some(known) = inner.answers.get(&key)
            {
                return Ok(known.clone());
            }
            inner.handlers.get(arrival.method).map(Arc::clone)
        };
        let Some(handler) = handler else {
            return Err(Failure::new(Code::Unimplemented, format!("{} has no handler", arrival.method)));
        };
        let answer = handler(&arrival);
        // Of what it refused, a service did nothing and remembers nothing.
        if let (Some(key), Ok(response)) = (arrival.key, &answer) {
            let mut inner = self.lock();
            inner.answers.insert(key, response.clone());
            inner.effects.push(arrival);
        }
        answer
    }
}

impl Inner {
    /// The request without the key that the engine filled into it.
    fn as_made(&self, arrival: &Arrival) -> Bytes {
        let (Some(key), Some(field)) = (arrival.key, self.request_ids.get(arrival.method)) else {
            return arrival.request.clone();
        };
        let field = field(key);
        let place = arrival.request.windows(field.len()).position(|bytes| bytes == field);
        place.map_or_else(
            || arrival.request.clone(),
            |place| [&arrival.request[..place], &arrival.request[place + field.len()..]].concat().into(),
        )
    }
}

fn request_id<R: Rpc<Request: Default>>(key: Uuid) -> Vec<u8> {
    let mut request = R::Request::default();
    R::fill_request_id(&mut request, &key.to_string());
    request.encode_to_vec()
}

/// How one effect arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub keys: Vec<Uuid>,
    pub arrivals: usize,
    pub applied: usize,
}

/// The services as one replica reaches them.
pub(crate) struct Probed {
    services: Services,
    probe: Probe,
}

struct Right {
    services: Services,
    probe: Probe,
    method: &'static str,
}

impl Transport for Probed {
    fn reserve(&self, path: &str, _run: Uuid, _connect_within: Duration) -> Reserving {
        let method = self.services.lock().handlers.keys().find(|known| **known == path).copied();
        let (services, probe) = (self.services.clone(), self.probe.clone());
        let path = path.to_owned();
        Box::pin(async move {
            probe.pass("reserve").await;
            let Some(method) = method else {
                let failure = Failure::new(Code::Unimplemented, format!("{path} has no handler"));
                return Err(Unsent { failure, retry_after: None });
            };
            let mut outage = services.lock().outage.subscribe();
            let right: Box<dyn Reservation> = Box::new(Right { services, probe, method });
            let down = outage.borrow_and_update().clone();
            let Some(down) = down else { return Ok(Reserved::Ready(right)) };
            let back = Box::pin(async move {
                // The services live as long as the right to call them.
                let _ = outage.wait_for(Option::is_none).await;
                Ok(right)
            });
            Ok(Reserved::Down(down, back))
        })
    }

    fn level(&self, path: &str, stated: Level) -> Level {
        self.services.lock().levels.get(path).copied().unwrap_or(stated)
    }
}

impl Reservation for Right {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Self { services, probe, method } = *self;
            probe.pass("before send").await;
            let arrival = Arrival {
                method,
                key: attempt.key,
                run: attempt.run,
                attempt: attempt.number,
                request: attempt.request.clone(),
                at: Instant::now(),
            };
            let connection = services.connection(method);
            let broken = connection.notified();
            let outcome = tokio::select! {
                biased;
                outcome = answer(&services, arrival, attempt.deadline) => outcome,
                () = broken => ambiguous(Code::Unavailable),
                () = tokio::time::sleep_until(attempt.deadline) => ambiguous(Code::DeadlineExceeded),
            };
            probe.pass("before response").await;
            probe.stepped(attempt.run);
            outcome
        })
    }
}

async fn answer(services: &Services, arrival: Arrival, deadline: Instant) -> Outcome {
    match services.next_reply(arrival.method) {
        None => plain(services.act(arrival)),
        Some(Reply::Slow(span)) => {
            tokio::time::sleep(span).await;
            plain(services.act(arrival))
        }
        Some(Reply::NotSent) => {
            let failure = Failure::new(Code::Unavailable, "scripted: not sent");
            Outcome::NotSent(Unsent { failure, retry_after: None })
        }
        Some(Reply::Refuse(code)) => Outcome::Refused(Failure::new(code, "scripted: refused")),
        Some(Reply::ActAndBreak(code)) => {
            let _lost = services.act(arrival);
            ambiguous(code)
        }
        Some(Reply::ActLater(code, span)) => {
            let (services, at) = (services.clone(), (Instant::now() + span).min(deadline + MARGIN));
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                drop(services.act(arrival));
            });
            ambiguous(code)
        }
        Some(Reply::AnswerAndBreak) => {
            let connection = services.connection(arrival.method);
            let answer = plain(services.act(arrival));
            connection.notify_waiters();
            answer
        }
        Some(Reply::BreakFirst(code)) => ambiguous(code),
        Some(Reply::Hang) => std::future::pending().await,
    }
}

fn plain(answer: Result<Bytes, Failure>) -> Outcome {
    match answer {
        Ok(response) => Outcome::Done(response),
        Err(failure) => Outcome::Refused(failure),
    }
}

fn ambiguous(code: Code) -> Outcome {
    Outcome::Ambiguous { failure: Failure::new(code, "scripted: answer lost"), retry_after: None }
}
