//! Services that answer as a test says, and count what arrives before they deduplicate it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::failure::{Code, Failure};
use crate::rpc::{Level, Rpc};
use crate::transport::{Outage, Transport};

/// One request that reached a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Method path.
    pub method: &'static str,
    /// The idempotency key of the call, if it has effects.
    pub key: Option<Uuid>,
    /// The id of the run.
    pub run: Uuid,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The encoded request.
    pub request: Bytes,
    /// When it arrived.
    pub at: Instant,
}

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
    /// The service acts and answers, and then its connection breaks: of all else that it was asked at the time no one can
    /// know.
    AnswerAndBreak,
    /// The service never answers and never acts.
    Hang,
}

pub(super) type Layer = dyn Fn(Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync;
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
    /// What each key was answered, and when.
    answers: HashMap<Uuid, (Bytes, Instant)>,
    /// How long a method remembers a key, where that is not forever.
    memories: HashMap<&'static str, Duration>,
    /// Keys of attempts that are still to act, although nothing waits for them.
    late: Vec<Uuid>,
    arrivals: Vec<Arrival>,
    effects: Vec<Arrival>,
    outage: watch::Sender<Option<Outage>>,
    layer: Option<Arc<Layer>>,
}

impl Services {
    /// No services: a call fails until a test declares an answer.
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

    /// A method that forgets a key this long after it first acted under it: the same key is another effect then.
    #[must_use]
    pub fn remembers<R: Rpc>(self, span: Duration) -> Self {
        self.lock().memories.insert(R::METHOD.path, span);
        self
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

    /// The services are called again, by all who wait at the same time.
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

    /// Whether an attempt under this key has lost its caller and still acts later.
    pub fn will_act(&self, key: Uuid) -> bool {
        self.lock().late.contains(&key)
    }

    pub(super) fn acts_late(&self, key: Option<Uuid>) {
        self.lock().late.extend(key);
    }

    pub(super) fn acted_late(&self, key: Option<Uuid>) {
        let mut inner = self.lock();
        let at = inner.late.iter().position(|late| Some(*late) == key);
        at.map(|at| inner.late.swap_remove(at));
    }

    /// How many requests reached a service, before deduplication.
    pub fn calls(&self) -> usize {
        self.lock().arrivals.len()
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

    /// What a test puts between a replica and its calls.
    pub(super) fn layer(&self) -> Option<Arc<Layer>> {
        self.lock().layer.clone()
    }

    pub(super) fn next_reply(&self, method: &str) -> Option<Reply> {
        let mut inner = self.lock();
        let scripted = inner.scripts.get_mut(method).and_then(VecDeque::pop_front);
        scripted.or_else(|| inner.always.get(method).cloned())
    }

    /// The connection of the service that has this method.
    pub(super) fn connection(&self, method: &str) -> Arc<Notify> {
        let service = method.rsplit_once('/').map_or(method, |(service, _)| service);
        Arc::clone(self.lock().connections.entry(service.to_owned()).or_default())
    }

    /// A method that has a handler, under a name that lasts.
    pub(super) fn method(&self, path: &str) -> Option<&'static str> {
        self.lock().handlers.keys().find(|known| **known == path).copied()
    }

    pub(super) fn known_level(&self, path: &str) -> Option<Level> {
        self.lock().levels.get(path).copied()
    }

    /// Whether the services are down, from now on.
    pub(super) fn outage(&self) -> watch::Receiver<Option<Outage>> {
        self.lock().outage.subscribe()
    }

    /// The service acts, once for every key.
    pub(super) fn act(&self, arrival: Arrival) -> Result<Bytes, Failure> {
        let arrival = Arrival { at: Instant::now(), ..arrival };
        let handler = {
            let mut inner = self.lock();
            inner.arrivals.push(arrival.clone());
            let memory = inner.memories.get(arrival.method).copied().unwrap_or(Duration::MAX);
            if let Some(key) = arrival.key
                && let Some((known, since)) = inner.answers.get(&key)
                && since.elapsed() <= memory
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
            inner.answers.insert(key, (response.clone(), Instant::now()));
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
    /// The keys under which the effect was requested.
    pub keys: Vec<Uuid>,
    /// How often it arrived.
    pub arrivals: usize,
    /// How often it took effect.
    pub applied: usize,
}
