//! Undos of steps, and undos themselves, of which it is not known whether they happened (semantics.md U2, E7).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::store::Requester;
use engine::testing::{Probe, Reply, Services, World};
use engine::transport::{Attempt, Outcome, Reservation, Reserved, Reserving, Transport};
use engine::view::StepState;
use engine::{Code, Failure, Registry, Retry, Rpc, State};
use futures_util::future::BoxFuture;
use prost::Message;
use uuid::Uuid;

use crate::common::{Answer, Cancel, Charge, HORIZON, Input, Output, Pay, Put, Refund, services, until, workflow};

const SECOND: Duration = Duration::from_secs(1);

fn tries(n: u32) -> Retry {
    Retry::try_new(n, SECOND, 1.0, SECOND, 0.0).unwrap_or_default()
}

fn asked() -> Requester {
    Requester::new("ann", "because")
}

fn killed(world: World) -> World {
    world.probe().kill();
    world.crash(Probe::counting())
}

fn failed(step: &str, attempt: u32) -> Decision {
    let verdict = Verdict::Failed(Failure::new(Code::Aborted, "it is not in the ledger"));
    Decision { step: step.to_owned(), incarnation: 1, attempt, verdict }
}

// Both answers are lost; while the run undoes, one of the two needs a decision and the other is asked again.
workflow!(PayAndPut, "test.pay-and-put", |ctx, _input| {
    let pay = ctx.call(Pay::of("pay", 1)).retry(Retry::never()).undo(|_| Refund::of("pay", 0));
    let _lost = pay.await;
    let put = ctx.call(Put::of("put", 1)).retry(Retry::never()).undo(|_| Cancel::of("put", 0));
    let _lost = put.await;
    ctx.sleep("long", 600 * SECOND).await?;
    Err(Failure::new(Code::Aborted, "enough"))
});

#[tokio::test(start_paused = true)]
async fn what_an_operator_says_did_not_happen_is_not_undone() {
    for crash in [true, false] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| PayAndPut));
        world.services().script::<Pay>([Reply::BreakFirst(Code::Unavailable)]);
        world.services().script::<Put>([Reply::BreakFirst(Code::Unavailable), Reply::Slow(25 * SECOND)]);
        let run = world.start::<PayAndPut>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::NeedsDecision]).await;
        assert_eq!(world.engine().in_flight(), 1, "the put is being settled");
        world.engine().resolve(run, failed("Pay#0", 1), asked()).await.unwrap();
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        assert_eq!(
            (world.services().arrivals_of::<Refund>(), world.services().arrivals_of::<Cancel>()),
            (0, 1),
            "{crash}"
        );
        assert!(world.detail(run).await.steps[1].undone);
    }
}

workflow!(PutWithKeyedUndo, "test.put-with-keyed-undo", |ctx, _input| {
    let put = ctx.call(Put::of("put", 1)).undo(|_| Refund::of("put", 0)).undo_retry(tries(2));
    put.await?;
    Err(Failure::new(Code::Aborted, "enough"))
});

fn keyed_undo() -> World {
    World::new(services(), |registry: &mut Registry| registry.register(|| PutWithKeyedUndo))
}

#[tokio::test(start_paused = true)]
async fn an_undo_in_doubt_is_made_again_within_the_horizon_of_its_key_and_decided_beyond_it() {
    let lost = || Reply::ActAndBreak(Code::Unavailable);
    for second in [lost(), Reply::Refuse(Code::PermissionDenied), Reply::NotSent] {
        for (wait, crash) in [(1, false), (1, true), (7_200, false), (7_200, true)] {
            let world = keyed_undo();
            world.services().script::<Refund>([lost(), second.clone()]);
            let run = world.start::<PutWithKeyedUndo>(Input::of("", 0)).await.unwrap();
            until(&world, run, &[State::Blocked]).await;
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let world = if crash { killed(world) } else { world };
            world.engine().retry(run, asked()).await.unwrap();
            let detail = until(&world, run, &[State::NeedsDecision, State::Failed]).await;
            let arrivals = world.services().arrivals();
            let refunds: Vec<_> = arrivals.iter().filter(|arrival| arrival.method == Refund::METHOD.path).collect();
            let (first, last) = (refunds[0], refunds[refunds.len() - 1]);
            assert!(last.at - first.at < HORIZON && first.key == last.key, "{second:?} {wait} {crash}");
            assert_eq!(world.services().effects_of::<Refund>(), 1);
            if wait == 1 {
                assert_eq!(detail.row.status.state, State::Failed, "{second:?} {crash}");
                continue;
            }
            assert_eq!(detail.row.status.state, State::NeedsDecision, "{second:?} {crash}");
            let undo = detail.steps.iter().find(|step| step.undoes.is_some()).unwrap();
            assert_eq!((undo.state, undo.in_doubt), (StepState::NeedsDecision, true));
            // The decision is that of the undo: it happened, so nothing is left.
            let verdict = Verdict::Happened(Answer::default().encode_to_vec().into());
            let decision = Decision { step: undo.path(), incarnation: 1, attempt: undo.attempts, verdict };
            world.engine().resolve(run, decision, asked()).await.unwrap();
            assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
            let detail = world.detail(run).await;
            assert!(detail.steps[0].undone && world.services().effects_of::<Refund>() == 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_an_operator_says_did_not_happen_is_made_by_the_next_retry() {
    let world = keyed_undo();
    world.services().script::<Refund>([Reply::BreakFirst(Code::Unavailable), Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<PutWithKeyedUndo>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    world.engine().retry(run, asked()).await.unwrap();
    until(&world, run, &[State::NeedsDecision]).await;
    world.engine().resolve(run, failed("~undo/Refund#0", 2), asked()).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    assert_eq!(world.services().arrivals_of::<Refund>(), 0);
    world.engine().retry(run, asked()).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!(world.services().effects_of::<Refund>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_ended_by_force_names_an_undo_in_doubt_as_uncertain() {
    let world = keyed_undo();
    world.services().always::<Refund>(Some(Reply::ActAndBreak(Code::Unavailable)));
    let run = world.start::<PutWithKeyedUndo>(Input::of("", 0)).await.unwrap();
    until(&world, run, &[State::Blocked]).await;
    world.engine().terminate(run, asked()).await.unwrap();
    let detail = world.detail(run).await;
    assert_eq!((detail.uncertain, detail.to_undo), (vec!["~undo/Refund#0".to_owned()], vec!["Put#0".to_owned()]));
}

/// Seats that are taken under the key of a put and given back by a cancel that names it.
fn seats() -> (Services, Arc<Mutex<BTreeSet<String>>>) {
    let standing: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let (put, cancel) = (Arc::clone(&standing), Arc::clone(&standing));
    let services = services()
        .on_arrival::<Put>(move |arrival, request| {
            let key = arrival.key.map(|key| key.to_string()).unwrap_or_default();
            put.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            Ok(Answer::of(request.text, 1))
        })
        .on::<Cancel>(move |request| {
            match cancel.lock().unwrap_or_else(PoisonError::into_inner).remove(&request.text) {
                true => Ok(Answer::default()),
                false => Err(Failure::new(Code::NotFound, "no such seat")),
            }
        });
    (services, standing)
}

fn taken(standing: &Mutex<BTreeSet<String>>) -> usize {
    standing.lock().unwrap_or_else(PoisonError::into_inner).len()
}

workflow!(PutLate, "test.put-late", |ctx, _input| {
    let put = ctx.call(Put::of("put", 1)).retry(Retry::never());
    let _lost = put.undo(|key| Cancel::of(key.to_string(), 0)).undo_retry(tries(5)).await;
    ctx.sleep("long", 600 * SECOND).await?;
    Err(Failure::new(Code::Aborted, "enough"))
});

workflow!(PutImpatient, "test.put-impatient", |ctx, _input| {
    let put = ctx.call(Put::of("put", 1)).retry(Retry::never());
    let _lost = put.undo(|key| Cancel::of(key.to_string(), 0)).undo_retry(tries(5)).undo_timeout(SECOND).await;
    Err(Failure::new(Code::Aborted, "enough"))
});

fn late(services: Services) -> World {
    World::new(services, |registry: &mut Registry| {
        registry.register(|| PutLate)?;
        registry.register(|| PutImpatient)
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_counts_as_undone_only_after_the_attempts_that_were_made_while_undoing() {
    for crash in [false, true] {
        let (services, standing) = seats();
        let world = late(services);
        let asked_again = [Reply::ActLater(Code::Unavailable, 20 * SECOND), Reply::Refuse(Code::PermissionDenied)];
        world.services().script::<Put>([Reply::BreakFirst(Code::Unavailable)]);
        world.services().script::<Put>(asked_again);
        let run = world.start::<PutLate>(Input::of("", 0)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(605)).await;
        let world = if crash { killed(world) } else { world };
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((taken(&standing), world.services().effects_of::<Put>()), (0, 1), "{crash}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_with_a_shorter_time_does_not_end_the_time_of_the_one_before_it() {
    let (services, standing) = seats();
    let world = late(services);
    // The first attempt has 30 seconds and acts late; those made while undoing have one.
    let scripted = [Reply::ActLater(Code::Unavailable, 25 * SECOND), Reply::Refuse(Code::PermissionDenied)];
    world.services().script::<Put>(scripted);
    let run = world.start::<PutImpatient>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((taken(&standing), world.services().effects_of::<Put>()), (0, 1));
}

/// Brings the answers of cancels 40 seconds late.
struct LateAnswers(Arc<dyn Transport>);

struct LateAnswer(Box<dyn Reservation>);

impl Transport for LateAnswers {
    fn reserve(&self, path: &str, run: Uuid, connect_within: Duration) -> Reserving {
        let (reserving, late) = (self.0.reserve(path, run, connect_within), path == Cancel::METHOD.path);
        Box::pin(async move {
            Ok(match reserving.await? {
                Reserved::Ready(inner) if late => Reserved::Ready(Box::new(LateAnswer(inner))),
                other => other,
            })
        })
    }
}

impl Reservation for LateAnswer {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let outcome = self.0.send(attempt).await;
            tokio::time::sleep(40 * SECOND).await;
            outcome
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_was_sent_too_early_is_not_believed_because_its_answer_is_late() {
    let (services, standing) = seats();
    let world = late(services.behind(|inner| Arc::new(LateAnswers(inner))));
    // The put has 30 seconds and a margin; the first cancel comes before it and is answered after that.
    let scripted = [Reply::ActLater(Code::Unavailable, 34 * SECOND), Reply::Refuse(Code::PermissionDenied)];
    world.services().script::<Put>(scripted);
    let run = world.start::<PutImpatient>(Input::of("", 0)).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((taken(&standing), world.services().arrivals_of::<Cancel>()), (0, 2));
}

workflow!(ChargeWithUndo, "test.charge-with-undo", |ctx, _input| {
    ctx.call(Charge::of("charge", 1)).undo(|_| Cancel::of("charge", 0)).await?;
    Ok(Output::of("", 0))
});

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_level_that_was_refused_after_it_may_have_happened_is_decided_before_it_is_undone() {
    for crash in [false, true] {
        let world = World::new(services(), |registry: &mut Registry| registry.register(|| ChargeWithUndo));
        let scripted = [Reply::ActAndBreak(Code::Unavailable), Reply::Refuse(Code::PermissionDenied)];
        world.services().script::<Charge>(scripted);
        let run = world.start::<ChargeWithUndo>(Input::of("", 0)).await.unwrap();
        until(&world, run, &[State::NeedsDecision]).await;
        tokio::time::sleep(Duration::from_secs(36)).await;
        let again = Decision { verdict: Verdict::AskAgain, ..failed("Charge#0", 1) };
        world.engine().resolve(run, again, asked()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let world = if crash { killed(world) } else { world };
        until(&world, run, &[State::NeedsDecision]).await;
        assert_eq!(world.services().arrivals_of::<Cancel>(), 0);
        let verdict = Verdict::Happened(Answer::of("charge", 2).encode_to_vec().into());
        world.engine().resolve(run, Decision { verdict, ..failed("Charge#0", 2) }, asked()).await.unwrap();
        assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
        assert_eq!((world.services().arrivals_of::<Charge>(), world.services().arrivals_of::<Cancel>()), (1, 1));
    }
}

workflow!(OnceThenUndo, "test.once-then-undo", |ctx, _input| {
    ctx.call(Put::of("seat", 1)).idempotency_key("seat", ["12A"]).undo(|key| Cancel::of(key.to_string(), 0)).await?;
    Ok(Output::of("done", 0))
});

workflow!(UndoThenOnce, "test.undo-then-once", |ctx, _input| {
    let put = ctx.call(Put::of("seat", 1)).undo_with(|key, _| Cancel::of(key.to_string(), 0));
    put.idempotency_key("seat", ["12A"]).await?;
    Ok(Output::of("done", 0))
});

#[tokio::test(start_paused = true)]
async fn a_call_with_a_business_key_has_no_undo() {
    let world = World::new(services(), |registry: &mut Registry| {
        registry.register(|| OnceThenUndo)?;
        registry.register(|| UndoThenOnce)
    });
    let failures = [
        world.run::<OnceThenUndo>(Input::of("", 0)).await.unwrap_err(),
        world.run::<UndoThenOnce>(Input::of("", 0)).await.unwrap_err(),
    ];
    for failure in failures {
        assert_eq!(failure.code(), Code::InvalidArgument);
        assert!(
            failure.message().contains("/test.Service/Put") && failure.message().contains("business key"),
            "{failure}"
        );
    }
    assert_eq!(world.services().arrivals().len(), 0);
}
