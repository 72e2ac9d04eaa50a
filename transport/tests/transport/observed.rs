//! What an exporter gets of calls: instruments, units, labels and buckets of gRFC A66 and A96, spans of gRFC A72.

use std::net::SocketAddr;
use std::time::Duration;

use engine::failure::Code;
use engine::transport::Attempt;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use transport::policy::ServicePolicy;
use transport::telemetry::Telemetry;
use transport::{ServiceConfig, Services};

use super::metadata::echo_after;
use super::wire::{peer, refusing};
use super::{LONG, attempt, call_over, config, done, reserve, without_breaker};

const RETRY: &str = r#"{"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"]
}}]}"#;

const METHOD: &str = "test.echo.v1.EchoService/Write";

/// What exports in memory.
struct Exported {
    meters: SdkMeterProvider,
    metrics: InMemoryMetricExporter,
    tracers: SdkTracerProvider,
    spans: InMemorySpanExporter,
}

impl Exported {
    fn new() -> Self {
        let (metrics, spans) = (InMemoryMetricExporter::default(), InMemorySpanExporter::default());
        let meters = SdkMeterProvider::builder().with_periodic_exporter(metrics.clone()).build();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        Self { meters, metrics, tracers, spans }
    }

    fn services(&self, address: SocketAddr) -> Services {
        let config = ServiceConfig {
            name: "echo".to_owned(),
            prefixes: vec!["test.echo.v1".to_owned()],
            address: format!("http://{address}"),
            channel: config(),
            policy: ServicePolicy::parse(RETRY).unwrap(),
            breaker: without_breaker(),
            ..ServiceConfig::default()
        };
        let telemetry = Telemetry::default().with_meters(&self.meters).with_tracers(&self.tracers);
        Services::observed(&test_contracts::CONTRACTS, [config], &telemetry).unwrap()
    }

    /// The metrics, each as `name unit {labels} count sum`, sums of times left out.
    fn metrics(&self) -> Vec<String> {
        self.meters.force_flush().unwrap();
        let exported = self.metrics.get_finished_metrics().unwrap();
        let scopes = exported.last().unwrap().scope_metrics();
        let mut lines: Vec<String> =
            scopes.flat_map(|scope| scope.metrics().flat_map(lines).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    }

    fn spans(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }
}

fn lines(metric: &Metric) -> Vec<String> {
    let labels = |labels: &mut dyn Iterator<Item = &KeyValue>| {
        let mut labels: Vec<_> = labels.map(|label| format!("{}={}", label.key, label.value.as_str())).collect();
        labels.sort();
        // The port is another one each time.
        labels.retain(|label| !label.starts_with("grpc.target=http://127.0.0.1:"));
        labels.join(" ")
    };
    let (name, unit) = (metric.name(), metric.unit());
    match metric.data() {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
            .data_points()
            .map(|point| format!("{name} {unit} {{{}}} {}", labels(&mut point.attributes()), point.value()))
            .collect(),
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| {
                format!("{name} {unit} {{{}}} {} {}", labels(&mut point.attributes()), point.count(), point.sum())
            })
            .collect(),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| format!("{name} {unit} {{{}}} {}", labels(&mut point.attributes()), point.count()))
            .collect(),
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test]
async fn calls_and_attempts_are_counted_timed_and_measured_by_method_and_status() {
    let exported = Exported::new();
    let (address, _calls) = echo_after(2, Duration::ZERO).await;
    let services = exported.services(address);
    for _ in 0..2 {
        done(call_over(&services, attempt(LONG)).await);
    }
    let of = |rest: &str| rest.replace("M", &format!("grpc.method={METHOD}"));
    assert_eq!(
        exported.metrics(),
        [
            of("grpc.client.attempt.duration s {M grpc.status=OK} 2"),
            of("grpc.client.attempt.duration s {M grpc.status=UNAVAILABLE} 2"),
            of("grpc.client.attempt.rcvd_total_compressed_message_size By {M grpc.status=OK} 2 14"),
            of("grpc.client.attempt.rcvd_total_compressed_message_size By {M grpc.status=UNAVAILABLE} 2 0"),
            of("grpc.client.attempt.sent_total_compressed_message_size By {M grpc.status=OK} 2 14"),
            of("grpc.client.attempt.sent_total_compressed_message_size By {M grpc.status=UNAVAILABLE} 2 14"),
            of("grpc.client.attempt.started {attempt} {M} 4"),
            of("grpc.client.call.duration s {M grpc.status=OK} 2"),
            of("grpc.client.call.retries {retry} {M} 1 2"),
            of("grpc.client.call.retry_delay s {M} 1"),
        ]
    );
}

#[tokio::test]
async fn buckets_are_those_that_grpc_advises() {
    let exported = Exported::new();
    let (address, _calls) = echo_after(1, Duration::ZERO).await;
    done(call_over(&exported.services(address), attempt(LONG)).await);
    exported.metrics();
    let finished = exported.metrics.get_finished_metrics().unwrap();
    for metric in finished.last().unwrap().scope_metrics().flat_map(|scope| scope.metrics()) {
        let bounds: Vec<f64> = match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                histogram.data_points().next().unwrap().bounds().collect()
            }
            AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                histogram.data_points().next().unwrap().bounds().collect()
            }
            _ => continue,
        };
        let (count, first, last) = match metric.unit() {
            "s" => (41, 0.0, 100.0),
            "By" => (14, 0.0, 4_294_967_296.0),
            "{retry}" => (5, 1.0, 5.0),
            unit => panic!("{} is in {unit}", metric.name()),
        };
        assert_eq!((bounds.len(), bounds[0], bounds[count - 1]), (count, first, last), "{}", metric.name());
        assert!(bounds.is_sorted(), "{}", metric.name());
    }
}

#[tokio::test]
async fn a_call_is_a_span_and_each_attempt_another_that_the_service_goes_on_with() {
    let exported = Exported::new();
    let (address, mut calls) = echo_after(1, Duration::ZERO).await;
    let attempt = attempt(LONG);
    let run = attempt.run;
    done(call_over(&exported.services(address), attempt).await);

    let spans = exported.spans();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    let (tried, sent) = ("Attempt.test.echo.v1.EchoService.Write", "Sent.test.echo.v1.EchoService.Write");
    assert_eq!(names, [tried, tried, sent]);
    let [first, second, call] = &spans[..] else { panic!("{spans:?}") };

    // All that a run calls is one trace, and its id is the run's.
    assert!(spans.iter().all(|span| span.span_context.trace_id() == TraceId::from(run.as_u128())));
    assert_eq!(call.parent_span_id, SpanId::from(run.as_u64_pair().1));
    assert_eq!(call.status, Status::Ok);
    for (number, span) in (0..).zip([first, second]) {
        assert_eq!((span.parent_span_id, &span.span_kind), (call.span_context.span_id(), &SpanKind::Client));
        let attribute = |name: &str| &span.attributes.iter().find(|one| one.key.as_str() == name).unwrap().value;
        assert_eq!(attribute("previous-rpc-attempts"), &Value::from(number));
        assert_eq!(attribute("transparent-retry"), &Value::from(false));
        let metadata = calls.recv().await.unwrap();
        let context = &span.span_context;
        let parent = format!("00-{}-{}-01", context.trace_id(), context.span_id());
        assert_eq!(metadata.get("traceparent").unwrap(), parent.as_str());
    }
    let events = |span: &SpanData| {
        let event = |event: &opentelemetry::trace::Event| {
            let size = event.attributes.iter().find(|one| one.key.as_str() == "message-size").unwrap();
            format!("{} {}", event.name, size.value)
        };
        span.events.iter().map(event).collect::<Vec<_>>()
    };
    assert_eq!(events(first), ["Outbound message 7"]);
    assert_eq!(first.status, Status::error("UNAVAILABLE: not yet"));
    assert_eq!(events(second), ["Outbound message 7", "Inbound message 7"]);
    assert_eq!(second.status, Status::Ok);
}

#[tokio::test]
async fn a_call_that_is_dropped_was_cancelled() {
    let exported = Exported::new();
    let (has, got) = tokio::sync::oneshot::channel();
    let address = peer(async |mut wire| {
        wire.request().await;
        has.send(()).unwrap();
        wire.linger().await;
    });
    let services = exported.services(address.await);
    let mut call = reserve(&services).await.unwrap().send(attempt(LONG));
    tokio::select! {
        outcome = &mut call => panic!("{outcome:?}"),
        _ = got => drop(call),
    }
    let of_calls = |lines: Vec<String>| lines.into_iter().filter(|line| line.contains("duration")).collect::<Vec<_>>();
    let ended = |name: &str| format!("grpc.client.{name}.duration s {{grpc.method={METHOD} grpc.status=CANCELLED}} 1");
    assert_eq!(of_calls(exported.metrics()), [ended("attempt"), ended("call")]);
    assert!(exported.spans().iter().all(|span| span.status == Status::error("CANCELLED: given up by the caller")));
}

#[tokio::test]
async fn a_call_without_a_connection_is_an_attempt_that_sent_nothing() {
    let exported = Exported::new();
    let (_kept, address) = refusing();
    let unsent = reserve(&exported.services(address)).await.err().unwrap();
    assert_eq!(unsent.failure.code(), Code::Unavailable);
    let of = |rest: &str| rest.replace("M", &format!("grpc.method={METHOD}"));
    assert_eq!(
        exported.metrics(),
        [
            of("grpc.client.attempt.duration s {M grpc.status=UNAVAILABLE} 1"),
            of("grpc.client.attempt.started {attempt} {M} 1"),
            of("grpc.client.call.duration s {M grpc.status=UNAVAILABLE} 1"),
        ]
    );
}

#[tokio::test]
async fn without_an_exporter_the_service_still_gets_a_span_in_the_trace_of_the_run() {
    let (address, mut calls) = echo_after(0, Duration::ZERO).await;
    let attempt = Attempt { number: 1, ..attempt(LONG) };
    let trace = TraceId::from(attempt.run.as_u128());
    done(call_over(&super::services(address), attempt).await);
    let metadata = calls.recv().await.unwrap();
    assert!(metadata.get("traceparent").unwrap().to_str().unwrap().starts_with(&format!("00-{trace}-")));
}
