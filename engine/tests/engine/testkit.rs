//! What `engine::testing` gives to those who test workflows.

use std::time::Duration;

use engine::testing::{Reply, World, check, expect};
use engine::{Code, Context, Failure, SignalType, Workflow};

use crate::common::{Answer, Cancel, Charge, Input, Look, Output, Put, services, workflow};

struct Everything;

impl Workflow for Everything {
    const NAME: &'static str = "test.everything";
    const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3_600);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("paid")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let _now = ctx.now();
        let look = ctx.call(Look::of("look", input.number)).await?;
        ctx.call(Put::of("put", look.number)).undo(|_| Cancel::of("put", 0)).await?;
        ctx.fan_out("item", ["a", "b", "a"], |ctx, item| async move { ctx.call(Look::of(item, 0)).await })
            .key(|item| (*item).to_owned())
            .await;
        ctx.sleep("cool-off", Duration::from_secs(3 * 24 * 3_600)).await?;
        let paid: Option<Answer> = ctx.signal("paid").within(Duration::from_secs(90)).await?;
        ctx.call(Charge::of("charge", paid.map_or(0, |paid| paid.number))).await?;
        Ok(Output::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_reads_as_what_happened() {
    let world = World::new(services(), |registry| registry.register(|| Everything));
    world.services().script::<Look>([Reply::NotSent]);
    world.services().script::<Put>([Reply::BreakFirst(Code::Unavailable)]);
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Everything>(Input::default()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.everything
        now#0 recorded
        Look#1 attempt 1 NOT_SENT, UNAVAILABLE: scripted: not sent; again
        Look#1 done, attempt 2
        Put#2 started IDEMPOTENT, undone by Cancel
        Put#2 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; again
        Put#2 attempt 2
        Put#2 done, attempt 2
        item#3 fans out over 3, 1 of them duplicates
        item[a]/Look#0 done
        item[b]/Look#0 done
        cool-off#4 sleeps for 72h
        cool-off#4 woke
        paid#5 awaits test.Answer for 1m 30s
        paid#5 expired
        Charge#6 started UNKNOWN
        Charge#6 failed REFUSED, FAILED_PRECONDITION: scripted: refused
        ending as FAILED: FAILED_PRECONDITION: scripted: refused
        ~undo/Cancel#2 started IDEMPOTENT, takes back Put#2
        ~undo/Cancel#2 done
        ended FAILED: FAILED_PRECONDITION: scripted: refused
    "#]],
    );
}

workflow!(Unsure, "test.unsure", |ctx, input| {
    ctx.call(Charge::of("charge", input.number)).await?;
    Ok(Output::default())
});

#[tokio::test(start_paused = true)]
async fn a_call_in_doubt_reads_as_one() {
    let world = World::new(services(), |registry| registry.register(|| Unsure));
    world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Unsure>(Input::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created test.unsure
        Charge#0 started UNKNOWN
        Charge#0 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; needs a decision
    "#]],
    );
}
