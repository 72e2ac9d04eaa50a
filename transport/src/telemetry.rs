//! Where measurements and spans of calls go: instruments under the names that gRPC has for them, and a tracer. Nowhere,
//! unless somebody who exports them says so.
//!
//! Metrics are those of gRFC A66 and A96, spans those of gRFC A72. An exporter hands in its providers; gRPC wants no global
//! one to be taken.

use std::fmt;
use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider};
use opentelemetry::trace::{Span, Tracer, TracerProvider};

/// Whose instruments and spans these are.
const SCOPE: &str = "grpc-orchestrator";

/// Bounds of the buckets of a time in seconds (A66).
const SECONDS: [f64; 41] = [
    0.0, 0.000_01, 0.000_05, 0.000_1, 0.000_3, 0.000_6, 0.000_8, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01,
    0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8,
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
];

/// The same of a size in bytes (A66).
const BYTES: [f64; 14] = [
    0.0,
    1_024.0,
    2_048.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
];

/// The same of retries (A96).
const RETRIES: [f64; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];
const TRANSPARENT_RETRIES: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0];

/// Where measurements and spans of calls go. Costs next to nothing where that is nowhere.
#[derive(Clone, Default)]
pub struct Telemetry {
    pub(crate) instruments: Option<Arc<Instruments>>,
    pub(crate) tracer: Option<Arc<BoxedTracer>>,
}

impl Telemetry {
    /// The same with metrics that go to the provider.
    #[must_use]
    pub fn with_meters(mut self, provider: &impl MeterProvider) -> Self {
        self.instruments = Some(Arc::new(Instruments::new(&provider.meter_with_scope(scope()))));
        self
    }

    /// The same with spans that go to the provider.
    #[must_use]
    pub fn with_tracers<P>(mut self, provider: &P) -> Self
    where
        P: TracerProvider<Tracer: Tracer<Span: Span + Send + Sync + 'static> + Send + Sync + 'static>,
    {
        self.tracer = Some(Arc::new(BoxedTracer::new(Box::new(provider.tracer_with_scope(scope())))));
        self
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (metrics, spans) = (self.instruments.is_some(), self.tracer.is_some());
        f.debug_struct("Telemetry").field("metrics", &metrics).field("spans", &spans).finish()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The instruments, made once for all services.
pub(crate) struct Instruments {
    pub(crate) attempts: Counter<u64>,
    pub(crate) attempt_seconds: Histogram<f64>,
    pub(crate) sent_bytes: Histogram<u64>,
    pub(crate) received_bytes: Histogram<u64>,
    pub(crate) call_seconds: Histogram<f64>,
    pub(crate) retries: Histogram<u64>,
    pub(crate) transparent_retries: Histogram<u64>,
    pub(crate) retry_delay: Histogram<f64>,
}

impl Instruments {
    fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, description: &'static str| {
            let instrument = meter.f64_histogram(name).with_unit("s").with_description(description);
            instrument.with_boundaries(SECONDS.to_vec()).build()
        };
        let count = |name: &'static str, unit: &'static str, description: &'static str, bounds: &[f64]| {
            let instrument = meter.u64_histogram(name).with_unit(unit).with_description(description);
            instrument.with_boundaries(bounds.to_vec()).build()
        };
        Self {
            attempts: meter
                .u64_counter("grpc.client.attempt.started")
                .with_unit("{attempt}")
                .with_description("Attempts of calls that were started, also those that have not ended.")
                .build(),
            attempt_seconds: seconds("grpc.client.attempt.duration", "Time from the start of an attempt to its end."),
            sent_bytes: count(
                "grpc.client.attempt.sent_total_compressed_message_size",
                "By",
                "Bytes of the request message of an attempt.",
                &BYTES,
            ),
            received_bytes: count(
                "grpc.client.attempt.rcvd_total_compressed_message_size",
                "By",
                "Bytes of the response messages of an attempt.",
                &BYTES,
            ),
            call_seconds: seconds("grpc.client.call.duration", "Time from the start of a call to its outcome."),
            retries: count("grpc.client.call.retries", "{retry}", "Retries of a call, where there were any.", &RETRIES),
            transparent_retries: count(
                "grpc.client.call.transparent_retries",
                "{transparent_retry}",
                "Times that a call was sent again because it had never left, where there were any.",
                &TRANSPARENT_RETRIES,
            ),
            retry_delay: seconds("grpc.client.call.retry_delay", "Time in a call without an attempt under way."),
        }
    }
}
