//! Says of every call and every attempt of a method that it began and how it ended: metrics of gRFC A66 and A96, spans of
//! gRFC A72.
//!
//! Names and attribute sets are made once for each method. A call or an attempt that is dropped was cancelled.

use std::sync::Arc;
use std::time::Duration;

use engine::failure::Code;
use engine::rpc::Method;
use engine::transport::{Attempt, Outcome, Unsent};
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;
use uuid::Uuid;

use crate::channel::{Trace, Verdict};
use crate::telemetry::{Instruments, Telemetry};

/// Codes of gRPC, OK included.
const CODES: usize = 17;

/// Watches the calls of one method; none if no telemetry is wanted.
pub(crate) type Observer = Option<Arc<Watched>>;

/// What all calls of a method have in common.
pub(crate) struct Watched {
    metrics: Option<Metrics>,
    spans: Option<Spans>,
}

struct Metrics {
    instruments: Arc<Instruments>,
    /// `grpc.method` and `grpc.target`.
    method: [KeyValue; 2],
    /// The same with `grpc.status`, by the number of the code.
    ended: [[KeyValue; 3]; CODES],
}

struct Spans {
    tracer: Arc<BoxedTracer>,
    call: String,
    attempt: String,
}

/// An observer of the method's calls to this target.
pub(crate) fn observer(telemetry: &Telemetry, method: &Method, target: &str) -> Observer {
    let metrics = telemetry.instruments.as_ref().map(|instruments| {
        let name = KeyValue::new("grpc.method", method.path.trim_start_matches('/'));
        let target = KeyValue::new("grpc.target", target.to_owned());
        let ended = std::array::from_fn(|number| {
            let code = i32::try_from(number).map_or(Code::Unknown, Code::from_i32);
            [name.clone(), target.clone(), KeyValue::new("grpc.status", code.name())]
        });
        Metrics { instruments: Arc::clone(instruments), method: [name, target], ended }
    });
    let spans = telemetry.tracer.as_ref().map(|tracer| Spans {
        tracer: Arc::clone(tracer),
        call: format!("Sent.{}.{}", method.service, method.name),
        attempt: format!("Attempt.{}.{}", method.service, method.name),
    });
    (metrics.is_some() || spans.is_some()).then(|| Arc::new(Watched { metrics, spans }))
}

impl Metrics {
    fn ended(&self, code: Code) -> &[KeyValue] {
        self.ended.get(code as usize).map_or(&self.method, |ended| ended)
    }
}

impl Watched {
    /// A call is made.
    pub(crate) fn call(self: &Arc<Self>, run: Uuid) -> Call {
        let span = self.spans.as_ref().map(|spans| {
            let builder = spans.tracer.span_builder(spans.call.clone());
            spans.tracer.build_with_context(builder, &of_run(run))
        });
        let (started, waited) = (Instant::now(), Duration::ZERO);
        Call { watched: Arc::clone(self), started, span, waited, retries: 0, resent: 0, code: None }
    }

    /// There was no connection for an attempt since then.
    pub(crate) fn not_connected(&self, since: Instant, code: Code) {
        if let Some(metrics) = &self.metrics {
            metrics.instruments.attempts.add(1, &metrics.method);
            metrics.instruments.attempt_seconds.record(since.elapsed().as_secs_f64(), metrics.ended(code));
        }
    }

    /// A call could not be made because there was no connection.
    pub(crate) fn not_made(&self, since: Instant, code: Code) {
        if let Some(metrics) = &self.metrics {
            metrics.instruments.call_seconds.record(since.elapsed().as_secs_f64(), metrics.ended(code));
        }
    }
}

/// All that a run calls belongs to one trace, whose id is the run's. Its span has the last half of it.
fn of_run(run: Uuid) -> Context {
    let (trace, span) = (run.as_u128(), run.as_u64_pair().1);
    if trace == 0 || span == 0 {
        return Context::new();
    }
    let parent =
        SpanContext::new(TraceId::from(trace), SpanId::from(span), TraceFlags::SAMPLED, true, TraceState::default());
    Context::new().with_remote_span_context(parent)
}

/// A call that is watched.
pub(crate) struct Call {
    watched: Arc<Watched>,
    started: Instant,
    span: Option<BoxedSpan>,
    /// Time without an attempt under way.
    waited: Duration,
    retries: u32,
    resent: u32,
    /// How it ended.
    code: Option<Code>,
}

impl Call {
    /// An attempt is made after `waited`, which is a repeat of what never left where `resent`.
    pub(crate) fn again(&mut self, waited: Duration, resent: bool) {
        self.waited += waited;
        *(if resent { &mut self.resent } else { &mut self.retries }) += 1;
    }

    /// One attempt.
    pub(crate) fn attempt(&self, attempt: &Attempt, previous: u32, resent: bool) -> Tried {
        let spans = self.watched.spans.as_ref().zip(self.span.as_ref());
        let span = spans.map(|(spans, parent)| {
            let parent = Context::new().with_remote_span_context(parent.span_context().clone());
            let builder = spans.tracer.span_builder(spans.attempt.clone()).with_kind(SpanKind::Client);
            let attributes = [
                KeyValue::new("previous-rpc-attempts", i64::from(previous)),
                KeyValue::new("transparent-retry", resent),
            ];
            let mut span = spans.tracer.build_with_context(builder.with_attributes(attributes), &parent);
            span.add_event("Outbound message", message(attempt.request.len()));
            span
        });
        if let Some(metrics) = &self.watched.metrics {
            metrics.instruments.attempts.add(1, &metrics.method);
        }
        let sent = attempt.request.len();
        Tried { watched: Arc::clone(&self.watched), started: Instant::now(), span, sent, received: 0, code: None }
    }

    /// The call has this outcome.
    pub(crate) fn ended(mut self, outcome: &Outcome) {
        let failure = failure(outcome);
        self.code = Some(failure.map_or(Code::Ok, |(code, _)| code));
        set_status(self.span.as_mut(), failure);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = settled(self.code, self.span.as_mut());
        let Some(metrics) = &self.watched.metrics else { return };
        let Metrics { instruments, method, .. } = metrics;
        instruments.call_seconds.record(self.started.elapsed().as_secs_f64(), metrics.ended(code));
        if self.retries > 0 {
            instruments.retries.record(self.retries.into(), method);
        }
        if self.resent > 0 {
            instruments.transparent_retries.record(self.resent.into(), method);
        }
        if !self.waited.is_zero() {
            instruments.retry_delay.record(self.waited.as_secs_f64(), method);
        }
    }
}

/// An attempt that is watched.
pub(crate) struct Tried {
    watched: Arc<Watched>,
    started: Instant,
    span: Option<BoxedSpan>,
    sent: usize,
    received: usize,
    /// How it ended.
    code: Option<Code>,
}

impl Tried {
    /// The span for the service to continue with.
    pub(crate) fn trace(&self) -> Option<Trace> {
        let context = self.span.as_ref()?.span_context();
        let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        let (trace, span) = (u128::from_be_bytes(trace), u64::from_be_bytes(span));
        context.is_valid().then_some(Trace { trace, span, sampled: context.is_sampled() })
    }

    /// It was answered with a message of this length.
    pub(crate) fn answered(mut self, received: usize) {
        (self.code, self.received) = (Some(Code::Ok), received);
        if let Some(span) = &mut self.span {
            span.add_event("Inbound message", message(received));
        }
        set_status(self.span.as_mut(), None);
    }

    /// It was not.
    pub(crate) fn failed(mut self, verdict: &Verdict) {
        if matches!(verdict.outcome, Outcome::NotSent(_)) {
            self.sent = 0;
        }
        let failure = failure(&verdict.outcome);
        self.code = Some(failure.map_or(Code::Ok, |(code, _)| code));
        set_status(self.span.as_mut(), failure);
    }
}

impl Drop for Tried {
    fn drop(&mut self) {
        let code = settled(self.code, self.span.as_mut());
        let Some(metrics) = &self.watched.metrics else { return };
        let (instruments, ended) = (&metrics.instruments, metrics.ended(code));
        instruments.attempt_seconds.record(self.started.elapsed().as_secs_f64(), ended);
        instruments.sent_bytes.record(self.sent as u64, ended);
        instruments.received_bytes.record(self.received as u64, ended);
    }
}

fn message(bytes: usize) -> Vec<KeyValue> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    vec![KeyValue::new("sequence-number", 0), KeyValue::new("message-size", bytes)]
}

fn failure(outcome: &Outcome) -> Option<(Code, &str)> {
    match outcome {
        Outcome::Done(_) => None,
        Outcome::NotSent(Unsent { failure, .. }) | Outcome::Refused(failure) | Outcome::Ambiguous { failure, .. } => {
            Some((failure.code(), failure.message()))
        }
    }
}

/// A call whose end is no longer waited for was cancelled.
fn settled(code: Option<Code>, span: Option<&mut BoxedSpan>) -> Code {
    code.unwrap_or_else(|| {
        set_status(span, Some((Code::Cancelled, "given up by the caller")));
        Code::Cancelled
    })
}

fn set_status(span: Option<&mut BoxedSpan>, failure: Option<(Code, &str)>) {
    if let Some(span) = span {
        span.set_status(failure.map_or(Status::Ok, |(code, message)| Status::error(format!("{code}: {message}"))));
    }
}
