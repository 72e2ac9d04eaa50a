//! `stack`: calls through the whole client stack, as the engine makes them, compared with a bare tonic channel that sends the same
//! metadata.

use std::sync::Arc;
use std::time::Duration;

use crate::proto::bench::echo::v1::WriteRequest;
use crate::proto::bench::echo::v1::echo_service_client::EchoServiceClient;
use anyhow::{anyhow, bail};
use bytes::Bytes;
use engine::claim::Always;
use engine::rpc::Rpc;
use engine::transport::{Attempt, Outcome, Reserved, StepPlace, Transport};
use prost::Message;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Channel;
use transport::channel::ChannelConfig;
use transport::policy::ServicePolicy;
use transport::{ServiceConfig, Services};
use uuid::Uuid;

use crate::How;
use crate::limits::{Caller, calls, raw_channel, write};
use crate::process::Echo;
use crate::report::{Figure, Report};
use crate::sample::Sample;

/// Calls in flight at which the stack must not be behind.
const JUDGED: [usize; 2] = [64, 256];

/// Above every number of calls in flight that is measured.
const MAX_IN_FLIGHT: usize = 20_000;

const TIMEOUT: Duration = Duration::from_secs(20);

/// What the owner of a service would ask of its callers.
const POLICY: &str = r#"{
    "methodConfig": [{
        "name": [{}],
        "timeout": "20s",
        "retryPolicy": {
            "maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]
        }
    }],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}"#;

/// Calls over tonic's own channel, with the metadata that the stack sends.
struct Bare(EchoServiceClient<Channel>);

impl Caller for Bare {
    async fn call(&mut self) -> anyhow::Result<()> {
        let mut request = Request::new(write());
        request.set_timeout(TIMEOUT);
        let (trace, span, key): (u128, u64, u128) = (rand::random(), rand::random(), rand::random());
        let metadata = request.metadata_mut();
        metadata.insert("traceparent", format!("00-{trace:032x}-{span:016x}-01").parse()?);
        metadata.insert("idempotency-key", Uuid::from_u128(key).to_string().parse()?);
        metadata.insert("grpc-accept-encoding", tonic::metadata::MetadataValue::from_static("gzip"));
        self.0.write(request).await?;
        Ok(())
    }
}

/// Calls as the engine makes them.
struct Stack(Arc<Services>);

impl Caller for Stack {
    async fn call(&mut self) -> anyhow::Result<()> {
        let (path, run) = (WriteRequest::METHOD.path, Uuid::from_u128(rand::random()));
        let reserved = match self.0.try_reserve(path) {
            Some(reserved) => reserved,
            None => match self.0.reserve(path, run, TIMEOUT).await {
                Ok(Reserved::Ready(reserved)) => reserved,
                Ok(Reserved::Down(outage, _)) => bail!("the service is down: {}", outage.error),
                Err(unsent) => bail!(unsent.failure),
            },
        };
        let attempt = Attempt {
            request: Bytes::from(write().encode_to_vec()),
            level: WriteRequest::METHOD.level,
            key: Some(Uuid::from_u128(rand::random())),
            deadline: Instant::now() + TIMEOUT,
            run,
            step: StepPlace::default(),
            number: 1,
            epoch: 1,
            claim: Arc::new(Always),
        };
        match reserved.send(attempt).await {
            Outcome::Done(_) => Ok(()),
            other => Err(anyhow!("{other:?}")),
        }
    }
}

fn services(address: &str) -> anyhow::Result<Services> {
    let policy = ServicePolicy::parse(POLICY).map_err(|mistakes| anyhow!("{mistakes:?}"))?;
    Ok(Services::new(
        &crate::proto::CONTRACTS,
        [ServiceConfig {
            name: "echo".to_owned(),
            prefixes: vec!["bench.echo.v1".to_owned()],
            address: address.to_owned(),
            channel: ChannelConfig { max_in_flight: MAX_IN_FLIGHT, ..ChannelConfig::default() },
            policy,
            ..ServiceConfig::default()
        }],
    )?)
}

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    for &in_flight in how.in_flight() {
        let (mut bare, mut stack) = (Vec::new(), Vec::new());
        for _ in 0..how.rounds {
            let channel = raw_channel(&echo.address).await?;
            let client = || Bare(EchoServiceClient::new(channel.clone()));
            bare.push(calls(in_flight, how.window(), client).await?);
            let services = Arc::new(services(&echo.address)?);
            stack.push(calls(in_flight, how.window(), || Stack(Arc::clone(&services))).await?);
        }
        let case = format!("stack/{in_flight}");
        let (bare, stack) = (Sample::median(&bare), Sample::median(&stack));
        report.add(Figure::new(&case, "tonic, same metadata", bare.per_second, "calls/s"));
        report.add(Figure::new(&case, "tonic, same metadata, CPU", bare.cpu * 1e6, "us/call"));
        let rate = Figure::new(&case, "stack", stack.per_second, "calls/s").beside(bare.per_second);
        let cpu = Figure::new(&case, "stack, CPU", stack.cpu * 1e6, "us/call").beside(bare.cpu * 1e6);
        let judged = JUDGED.contains(&in_flight);
        report.add(if judged { rate.at_least(1.0) } else { rate });
        report.add(if judged { cpu.at_most(1.0) } else { cpu });
        report.add(Figure::new(&case, "stack, p50", stack.p50, "us").beside(bare.p50));
    }
    Ok(())
}
