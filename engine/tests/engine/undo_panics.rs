//! Code that panics when it makes an undo: a strike of its run (semantics.md S5), never a loop, and nothing is lost by it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::store::Requester;
use engine::testing::{Reply, World};
use engine::{Code, Failure, Registry, Retry, State};
use prost::Message;

use crate::common::{Answer, Cancel, Charge, Input, Output, Put, services, until, workflow};

fn asked() -> Requester {
    Requester::new("ann", "because")
}

workflow!(Panicking, "test.panicking-undo", |ctx, input| {
    let limit = input.number;
    let undo = move |_, answer: Answer| -> Cancel {
        assert!(answer.number > limit, "a mistake of its author");
        Cancel::of("put", 0)
    };
    match input.text.as_str() {
        "charge" => ctx.call(Charge::of("charge", 1)).undo_with(undo).await?,
        _ => ctx.call(Put::of("put", 1)).undo_with(undo).await?,
    };
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_makes_an_undo_stops_the_run_visibly_and_its_call_is_made_once() {
    for text in ["put", "charge"] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Panicking));
        let run = world.start::<Panicking>(Input::of(text, 100)).await.unwrap();
        let detail = until(&world, run, &[State::Blocked]).await;
        assert!(detail.row.status.reason.starts_with("POISON: 3 times"), "{}", detail.row.status.reason);
        assert!(detail.row.status.reason.contains("a mistake of its author"), "{}", detail.row.status.reason);
        tokio::time::sleep(Duration::from_secs(10_000)).await;
        let after = world.detail(run).await;
        assert_eq!(after.row.sequence, detail.row.sequence, "nothing continues");
        assert_eq!(world.services().arrivals().len(), 1, "{text}");
    }
}

static MENDED: AtomicU32 = AtomicU32::new(100);

workflow!(Mended, "test.mended-undo", |ctx, _input| {
    let undo = |_, answer: Answer| -> Cancel {
        assert!(answer.number > MENDED.load(Ordering::SeqCst), "a mistake of its author");
        Cancel::of("put", 0)
    };
    ctx.call(Put::of("put", 1)).undo_with(undo).await?;
    ctx.call(Charge::of("charge", 1)).retry(Retry::never()).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_once_what_makes_its_undo_is_mended_and_undoes_its_step() {
    MENDED.store(100, Ordering::SeqCst);
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| Mended));
    world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
    let run = world.start::<Mended>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    MENDED.store(0, Ordering::SeqCst);
    world.engine().retry(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!((world.services().arrivals_of::<Put>(), world.services().arrivals_of::<Cancel>()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_what_makes_an_undo_of_a_run_that_ends_blocks_its_undos() {
    // The answer comes after the run was cancelled, or an operator gives it.
    for decided in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| Panicking));
        world.services().script::<Put>([Reply::Slow(Duration::from_secs(10))]);
        world.services().script::<Charge>([Reply::ActAndBreak(Code::Unavailable)]);
        let text = if decided { "charge" } else { "put" };
        let run = world.start::<Panicking>(Input::of(text, 100)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.engine().cancel(run, asked()).await.unwrap();
        if decided {
            until(&world, run, &[State::NeedsDecision]).await;
            let verdict = Verdict::Happened(Answer::of("charge", 2).encode_to_vec().into());
            let decision = Decision { step: "Charge#0".to_owned(), incarnation: 1, attempt: 1, verdict };
            world.engine().resolve(run, decision, asked()).await.unwrap();
        }
        let detail = until(&world, run, &[State::Blocked]).await;
        assert!(detail.row.status.reason.starts_with("POISON: 3 times"), "{}", detail.row.status.reason);
        assert_eq!(detail.row.status.ending_as, Some(State::Cancelled));
        tokio::time::sleep(Duration::from_secs(10_000)).await;
        assert_eq!(world.detail(run).await.row.sequence, detail.row.sequence, "nothing continues");
        assert_eq!(world.services().arrivals().len(), 1, "{decided}");
    }
}

workflow!(PanicsLater, "test.panics-later", |ctx, _input| {
    ctx.call(Put::of("put", 1)).undo(|_| Cancel::of("put", 0)).await?;
    if true {
        Err(Failure::new(Code::Internal, ""))
            .inspect_err(|_| assert!(std::hint::black_box(false), "a mistake of its author"))?;
    }
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn what_stopped_the_code_of_a_run_does_not_stop_its_undos() {
    let world = World::new(services(), |registry: &mut Registry| registry.register(|| PanicsLater));
    let run = world.start::<PanicsLater>(Input::of("", 0)).await.unwrap();
    let detail = until(&world, run, &[State::Blocked]).await;
    assert!(detail.row.status.reason.starts_with("POISON"), "{}", detail.row.status.reason);
    world.engine().cancel(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Cancelled);
    assert_eq!(world.services().arrivals_of::<Cancel>(), 1);
}
