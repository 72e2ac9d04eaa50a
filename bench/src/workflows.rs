//! The workflows that are measured.

use bytes::Bytes;
use clients::bench::echo::v1::{ReadRequest, WriteRequest};
use clients::bench::v1::{ChainRequest, ChainResponse};
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

pub(crate) fn registry() -> Result<Registry, NameTaken> {
    let mut workflows = Registry::new();
    workflows.register(|| Chain)?;
    workflows.register(|| Reads)?;
    Ok(workflows)
}
