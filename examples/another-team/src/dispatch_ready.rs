//! `parcels.dispatch-ready`: dispatches every parcel that is ready.

use engine::{Context, Failure, Workflow};

use crate::contracts::acme::orchestration::parcels::v1::{DispatchReadyRequest, DispatchReadyResponse};
use crate::contracts::acme::parcels::v1::{DispatchRequest, ListReadyRequest};

pub struct DispatchReady {
    pub carrier: String,
}

impl Workflow for DispatchReady {
    const NAME: &'static str = "parcels.dispatch-ready";
    const DESCRIPTION: &'static str = "Dispatches every parcel that is ready.";
    type Input = DispatchReadyRequest;
    type Output = DispatchReadyResponse;

    async fn run(&self, ctx: &Context, input: DispatchReadyRequest) -> Result<DispatchReadyResponse, Failure> {
        let ready = ctx.call(ListReadyRequest { page_size: input.limit }).await?.parcel_ids;
        // A new setting of the carrier holds for runs that begin later: this run keeps what it began with.
        let carrier = ctx.record("carrier", || self.carrier.clone()).await;
        let dispatched = ctx
            .fan_out("parcel", ready, move |ctx, parcel_id| {
                let carrier = carrier.clone();
                async move { ctx.call(DispatchRequest { parcel_id, carrier }).await }
            })
            .key(|parcel_id| parcel_id.clone())
            .limit(16)
            .await;
        Ok(DispatchReadyResponse {
            dispatched: dispatched.succeeded().try_into().unwrap_or(i32::MAX),
            failed: dispatched.failed().try_into().unwrap_or(i32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use engine::Limits;
    use engine::testing::{Services, World, crash_everywhere};

    use super::*;
    use crate::contracts::acme::parcels::v1::{DispatchResponse, ListReadyResponse};

    #[tokio::test(start_paused = true)]
    async fn every_parcel_is_dispatched_wherever_the_replica_is_killed() {
        let world = |probe| {
            World::with(
                Services::new()
                    .on::<ListReadyRequest>(|_| Ok(ListReadyResponse { parcel_ids: vec!["a".into(), "b".into()] }))
                    .on::<DispatchRequest>(|_| Ok(DispatchResponse {})),
                |registry| registry.register(|| DispatchReady { carrier: "ship".into() }),
                Limits::default(),
                probe,
            )
        };
        let sweep = crash_everywhere::<DispatchReady>(world, DispatchReadyRequest::default()).await;
        assert_eq!(sweep.holds(), &Ok(DispatchReadyResponse { dispatched: 2, failed: 0 }));
    }
}
