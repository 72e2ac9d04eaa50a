//! A method that answers with a stream, called as any other: all its messages are the result of one step.

use clients::guras::journal::v1::{
    Entry, SaveEntryEmotionsRequest, SaveEntryEmotionsResponse, StreamEntriesCollected, StreamEntriesRequest,
    StreamEntriesResponse,
};
use clients::guras::orchestration::journals::v1::{AnalyzeEmotionsRequest, AnalyzeEmotionsResponse};
use engine::testing::{Probe, Services, World, crash_everywhere};
use engine::{Context, Failure, Limits, Workflow};

/// Clears the emotions of all entries of a user.
struct Clear;

impl Workflow for Clear {
    const NAME: &'static str = "tests.clear";
    type Input = AnalyzeEmotionsRequest;
    type Output = AnalyzeEmotionsResponse;

    async fn run(&self, ctx: &Context, _input: AnalyzeEmotionsRequest) -> Result<AnalyzeEmotionsResponse, Failure> {
        let written = ctx.call(StreamEntriesRequest { user_id: "u1".to_owned(), ..Default::default() }).await?;
        let mut output = AnalyzeEmotionsResponse::default();
        for entry in written.responses.into_iter().filter_map(|response| response.entry) {
            output.found += 1;
            ctx.call(SaveEntryEmotionsRequest { entry_id: entry.entry_id, emotion_ids: Vec::new() }).await?;
        }
        Ok(output)
    }
}

fn world(probe: Probe) -> World {
    let services = Services::new()
        .on::<StreamEntriesRequest>(|_| {
            let entry = |id: &str| Entry { entry_id: id.to_owned(), ..Entry::default() };
            let responses = ["e1", "e2", "e3"].map(|id| StreamEntriesResponse { entry: Some(entry(id)) });
            Ok(StreamEntriesCollected { responses: responses.into() })
        })
        .on::<SaveEntryEmotionsRequest>(|_| Ok(SaveEntryEmotionsResponse::default()));
    World::with(services, |registry| registry.register(|| Clear), Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_one_step_wherever_its_replica_is_killed() {
    let sweep = crash_everywhere::<Clear>(world, AnalyzeEmotionsRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(AnalyzeEmotionsResponse { found: 3, ..Default::default() }));
}
