//! The workflows that are measured.

use crate::proto::bench::echo::v1::{ActRequest, ReadRequest, WriteRequest};
use crate::proto::bench::v1::{
    ChainRequest, ChainResponse, EffectsRequest, EffectsResponse, FanOutRequest, FanOutResponse, SleeperRequest,
    SleeperResponse, TickRequest, TickResponse,
};
use bytes::Bytes;
use engine::time::Timestamp;
use engine::workflow::NameTaken;
use engine::{Context, Failure, Registry, Workflow};

/// What every payload is cut from.
static PAYLOAD: [u8; 4096] = [7; 4096];

pub(crate) fn payload(bytes: i32) -> Bytes {
    let length = usize::try_from(bytes).unwrap_or(0).min(PAYLOAD.len());
    Bytes::from_static(&PAYLOAD[..length])
}

/// Calls with effects, one after the other.
pub(crate) struct Chain;

impl Workflow for Chain {
    const NAME: &'static str = "bench.chain";
    type Input = ChainRequest;
    type Output = ChainResponse;

    async fn run(&self, ctx: &Context, input: ChainRequest) -> Result<ChainResponse, Failure> {
        let mut steps = 0;
        for _ in 0..input.steps {
            let payload = payload(input.bytes);
            let length = payload.len();
            let answer = ctx.call(WriteRequest { payload }).await?;
            steps += i32::from(answer.payload.len() == length);
        }
        Ok(ChainResponse { steps })
    }
}

/// The same of calls without effects.
pub(crate) struct Reads;

impl Workflow for Reads {
    const NAME: &'static str = "bench.reads";
    type Input = ChainRequest;
    type Output = ChainResponse;

    async fn run(&self, ctx: &Context, input: ChainRequest) -> Result<ChainResponse, Failure> {
        let mut steps = 0;
        for _ in 0..input.steps {
            let payload = payload(input.bytes);
            let length = payload.len();
            let answer = ctx.call(ReadRequest { payload }).await?;
            steps += i32::from(answer.payload.len() == length);
        }
        Ok(ChainResponse { steps })
    }
}

/// Effects that are accounted for, one after the other.
pub(crate) struct Effects;

impl Workflow for Effects {
    const NAME: &'static str = "bench.effects";
    type Input = EffectsRequest;
    type Output = EffectsResponse;

    async fn run(&self, ctx: &Context, input: EffectsRequest) -> Result<EffectsResponse, Failure> {
        for number in 0..input.steps {
            let effect = format!("{}/{number}", input.name);
            ctx.call(ActRequest { effect, payload: payload(input.bytes), due_micros: 0 }).await?;
        }
        Ok(EffectsResponse {})
    }
}

/// One effect after a sleep.
pub(crate) struct Sleeper;

impl Workflow for Sleeper {
    const NAME: &'static str = "bench.sleeper";
    type Input = SleeperRequest;
    type Output = SleeperResponse;

    async fn run(&self, ctx: &Context, input: SleeperRequest) -> Result<SleeperResponse, Failure> {
        let SleeperRequest { name, due_micros } = input;
        ctx.sleep("until due", Timestamp::from_micros(due_micros).since(ctx.now())).await?;
        ctx.call(ActRequest { effect: name, payload: Bytes::new(), due_micros }).await?;
        Ok(SleeperResponse {})
    }
}

/// One effect, as late as the tick that started the run.
pub(crate) struct Tick;

impl Workflow for Tick {
    const NAME: &'static str = "bench.tick";
    type Input = TickRequest;
    type Output = TickResponse;

    async fn run(&self, ctx: &Context, _input: TickRequest) -> Result<TickResponse, Failure> {
        let due_micros = ctx.schedule().map_or(0, |tick| tick.nominal.as_micros());
        let name = ctx.schedule().map_or("", |tick| &tick.schedule);
        let effect = format!("{name}/{due_micros}");
        ctx.call(ActRequest { effect, payload: Bytes::new(), due_micros }).await?;
        Ok(TickResponse {})
    }
}

/// One effect for each branch.
pub(crate) struct FanOut;

impl Workflow for FanOut {
    const NAME: &'static str = "bench.fan-out";
    type Input = FanOutRequest;
    type Output = FanOutResponse;

    async fn run(&self, ctx: &Context, input: FanOutRequest) -> Result<FanOutResponse, Failure> {
        let FanOutRequest { name, branches, limit, bytes } = input;
        let outcome = ctx
            .fan_out("branch", 0..branches, move |ctx, number| {
                let effect = format!("{name}/{number}");
                async move { ctx.call(ActRequest { effect, payload: payload(bytes), due_micros: 0 }).await }
            })
            .key(i32::to_string)
            .limit(usize::try_from(limit).unwrap_or(0))
            .await;
        Ok(FanOutResponse { branches: i32::try_from(outcome.succeeded()).unwrap_or(i32::MAX) })
    }
}

pub(crate) fn registry() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| Chain)?;
    workflows.register(|| Reads)?;
    workflows.register(|| Effects)?;
    workflows.register(|| Sleeper)?;
    workflows.register(|| Tick)?;
    workflows.register(|| FanOut)?;
    Ok(workflows)
}
