//! A call to a service as a step.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use prost::Message;
use uuid::Uuid;

use super::{Step, sealed::Sealed};
use crate::authoring::context::Context;
use crate::failure::{Code, Failure};
use crate::history::JournaledKind;
use crate::identity;
use crate::limits::Limit;
use crate::retry::Retry;
use crate::rpc::Rpc;
use crate::scope::{CallIntent, CallOptions, Fault, Intent, Lookup, Scope};
use crate::step_id::{BranchId, SlotId, StepId};
use crate::undo::{self, Policy, Undo, UndoSource};

impl Context {
    /// Calls a service: the typed gRPC call, journaled, keyed, with a deadline and tried again as its contract
    /// allows.
    pub fn call<R: Rpc>(&self, request: R) -> Call<R> {
        Call::build(Arc::clone(&self.scope), self.branch, request)
    }
}

/// A call that was built; await it to make it.
#[must_use = "a call is made when it is awaited"]
pub struct Call<R: Rpc> {
    scope: Arc<Scope>,
    branch: BranchId,
    position: u32,
    state: State<R>,
}

enum State<R: Rpc> {
    Built {
        request: R::Request,
        options: CallOptions,
        business_key: Option<(&'static str, Vec<String>)>,
        undo: Option<ToUndo>,
    },
    Waiting {
        slot: SlotId,
        place: StepId,
    },
    /// The run cannot continue; the driver knows why.
    Stuck,
}

/// How a call is undone, once it has its place and its key.
struct ToUndo {
    source: Option<Box<MakeUndoSource>>,
    policy: Policy,
}

type MakeUndoSource = dyn FnOnce(Uuid, StepId, u32, Uuid) -> UndoSource + Send;

impl<R: Rpc> Unpin for Call<R> {}

impl<R: Rpc> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({}#{})", R::METHOD.path, self.position)
    }
}

impl<R: Rpc> Call<R> {
    pub(crate) fn build(scope: Arc<Scope>, branch: BranchId, call: R) -> Self {
        let position = scope.build(branch, R::METHOD.path);
        let state = State::Built {
            request: call.into_request(),
            options: CallOptions::default(),
            business_key: None,
            undo: None,
        };
        Self { scope, branch, position, state }
    }

    /// How the call is tried again. [`Retry::standard`] where nothing is said.
    pub fn retry(mut self, retry: Retry) -> Self {
        if let State::Built { options, .. } = &mut self.state {
            options.retry = Some(retry);
        }
        self
    }

    /// Time for one attempt, from the first byte to the last. The engine's default where nothing is said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let State::Built { options, .. } = &mut self.state {
            options.timeout = Some(timeout);
        }
        self
    }

    /// A business key instead of the key that the engine derives: no other run can have this effect again for as long as the
    /// service remembers the key. `name` and `parts` together are the key. Such a call has no undo, because the effect may
    /// be that of another run.
    pub fn idempotency_key<P: AsRef<str>>(mut self, name: &'static str, parts: impl IntoIterator<Item = P>) -> Self {
        if let State::Built { business_key, .. } = &mut self.state {
            *business_key = Some((name, parts.into_iter().map(|part| part.as_ref().to_owned()).collect()));
        }
        self.check_shared();
        self
    }

    /// Makes the answer durable as soon as it is there. Only reads need it said: an expensive one is then not
    /// made again after a crash.
    pub fn durable(mut self) -> Self {
        if let State::Built { options, .. } = &mut self.state {
            options.durable = true;
        }
        self
    }

    /// What takes the call back where the run fails or is cancelled: made from the call's key, and journaled before the
    /// call is sent. Undos are made in reverse order of the calls, under keys of their own; NOT_FOUND counts as undone.
    ///
    /// A call whose end is not known is settled first: asked again under its key, or by an operator.
    pub fn undo<U: Rpc>(self, undo: impl FnOnce(Uuid) -> U + Send + 'static) -> Self {
        self.undone_by::<U>(|run, place, incarnation, key| {
            let undo_key = undo::key_of(run, &place, U::METHOD.path, incarnation);
            UndoSource::Known(undo::message(undo(key), undo_key))
        })
    }

    /// The same, made from the call's key and its response, and journaled with the response.
    pub fn undo_with<U: Rpc>(self, undo: impl FnOnce(Uuid, R::Response) -> U + Send + 'static) -> Self {
        self.undone_by::<U>(|run, place, incarnation, key| {
            let undo_key = undo::key_of(run, &place, U::METHOD.path, incarnation);
            UndoSource::ByResponse(Box::new(move |response| {
                R::Response::decode(response).map(|response| undo::message(undo(key, response), undo_key))
            }))
        })
    }

    fn undone_by<U: Rpc>(
        mut self,
        source: impl FnOnce(Uuid, StepId, u32, Uuid) -> UndoSource + Send + 'static,
    ) -> Self {
        for method in [R::METHOD, U::METHOD] {
            if !method.level.has_effects() {
                self.scope.fail(Fault::Limit(undo::pointless(method.path)));
            }
        }
        if let State::Built { undo, .. } = &mut self.state {
            let policy = undo.take().map_or_else(Policy::default, |before| before.policy);
            *undo = Some(ToUndo { source: Some(Box::new(source)), policy });
        }
        self.check_shared();
        self
    }

    /// A business key belongs to no run, so no run may take back what was done under it.
    fn check_shared(&self) {
        if let State::Built { business_key: Some(_), undo: Some(undo), .. } = &self.state
            && undo.source.is_some()
        {
            self.scope.fail(Fault::Limit(undo::shared(R::METHOD.path)));
        }
    }

    /// How the undo is tried: [`Retry::stubborn`] where nothing is said. One that still fails leaves the run BLOCKED,
    /// with what is left to undo.
    pub fn undo_retry(mut self, retry: Retry) -> Self {
        self.undo_policy(|policy| policy.retry = retry);
        self
    }

    /// Time for one attempt of the undo. The service's default where nothing is said.
    pub fn undo_timeout(mut self, timeout: Duration) -> Self {
        self.undo_policy(|policy| policy.timeout = Some(timeout));
        self
    }

    fn undo_policy(&mut self, set: impl FnOnce(&mut Policy)) {
        if let State::Built { undo, .. } = &mut self.state {
            set(&mut undo.get_or_insert_with(|| ToUndo { source: None, policy: Policy::default() }).policy);
        }
    }

    fn begin(
        &self,
        mut request: R::Request,
        options: CallOptions,
        business_key: Option<(&'static str, Vec<String>)>,
        undo: Option<ToUndo>,
    ) -> State<R> {
        let method = R::METHOD;
        let place = self.scope.place(self.branch, self.position, method.path);
        let incarnation = self.scope.incarnation(&place);
        let key = match business_key {
            Some((name, parts)) => identity::business_key(method.path, name, &parts),
            None => identity::step_key(self.scope.run, &place.branch, place.position, method.path, incarnation),
        };
        let mut encoded = request.encode_to_vec();
        let hash = identity::hash(&encoded);
        if method.request_id.is_some() {
            R::fill_request_id(&mut request, &key.to_string());
            encoded = request.encode_to_vec();
        }
        let Some((slot, reached)) = self.scope.reach(self.branch, &place) else { return State::Stuck };
        let journaled = matches!(reached, Lookup::Journaled(_));
        let limit = self.scope.limits.payload_bytes;
        // A limit that was lowered fails no run for what it has done already.
        if !journaled && encoded.len() > limit {
            let message =
                format!("the request of {place} has {} bytes, the limit payload_bytes is {limit}", encoded.len());
            self.scope.fail(Fault::Limit(Failure::new(Code::ResourceExhausted, message).at(place.step_ref())));
            return State::Stuck;
        }
        if !journaled {
            self.scope.counts(Limit::PayloadBytes, encoded.len() as u64, limit as u64, &place);
        }
        if let Lookup::Journaled(past) = reached {
            let same = match past.kind {
                JournaledKind::Effect { hash: journaled } => method.level.has_effects() && journaled == hash,
                JournaledKind::Read { hash: journaled } => journaled.is_none_or(|journaled| journaled == hash),
                _ => false,
            };
            if !same {
                self.scope.fail(Fault::Mismatch {
                    journal: format!("{place} with another request"),
                    code: format!("{place} with a request of SHA-256 {}", hex(&hash)),
                });
                return State::Stuck;
            }
        }
        let undo = undo.and_then(|undo| {
            let source = undo.source?(self.scope.run, place.clone(), incarnation, key);
            Some(Box::new(Undo { source, policy: undo.policy }))
        });
        if let Some(UndoSource::Known(message)) = undo.as_ref().map(|undo| &undo.source)
            && !journaled
            && message.request.len() > limit
        {
            let text =
                format!("the undo of {place} has {} bytes, the limit payload_bytes is {limit}", message.request.len());
            self.scope.fail(Fault::Limit(Failure::new(Code::ResourceExhausted, text).at(place.step_ref())));
            return State::Stuck;
        }
        let call = CallIntent {
            slot,
            place: place.clone(),
            method,
            request: encoded.into(),
            hash,
            key,
            incarnation,
            options,
            undo,
            journaled,
        };
        self.scope.enter(self.branch, Intent::Call(Box::new(call)));
        State::Waiting { slot, place }
    }
}

impl<R: Rpc> Future for Call<R> {
    type Output = Result<R::Response, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if matches!(self.state, State::Built { .. })
            && let State::Built { request, options, business_key, undo } =
                std::mem::replace(&mut self.state, State::Stuck)
        {
            self.state = self.begin(request, options, business_key, undo);
        }
        let State::Waiting { slot, place } = &self.state else { return Poll::Pending };
        match self.scope.poll_slot(self.branch, *slot, cx.waker()) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure.at(place.step_ref()))),
            Poll::Ready(Ok(bytes)) => Poll::Ready(R::Response::decode(bytes).map_err(|error| {
                let message = format!("the response of {} does not decode: {error}", R::METHOD.path);
                Failure::new(Code::Internal, message).at(place.step_ref())
            })),
        }
    }
}

impl<R: Rpc> Sealed for Call<R> {
    fn let_go(&mut self, gone: &mut Vec<SlotId>) {
        if let State::Waiting { slot, .. } = self.state {
            self.scope.let_go(self.branch, slot, gone);
        }
    }
}

impl<R: Rpc> Step for Call<R> {
    type Value = R::Response;
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
