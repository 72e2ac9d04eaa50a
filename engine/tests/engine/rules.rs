//! The rules of contracts: what breaks them is neither started nor sent, and what has passed them is not checked again (E8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::engine::EngineError;
use engine::prelude::*;
use engine::rules::{Rules, Violation};
use engine::schedule::{Rule, Spec};
use engine::store::{Requester, Schedule, TickOutcome};
use engine::testing::{Probe, Services, World, crash_everywhere};
use engine::time::Timestamp;
use engine::{Limits, Registry, State};
use prost::Message;
use tokio_util::sync::CancellationToken;

use crate::common::{Answer, Cancel, Charge, Input, Look, Output, Put, services};

/// Texts must not be "wrong"; and not "strange" either, once the rules are strict.
#[derive(Default)]
struct Texts {
    are_strict: AtomicBool,
}

impl Texts {
    fn check(&self, encoded: &[u8]) -> Vec<Violation> {
        let text = Input::decode(encoded).unwrap().text;
        let breaks = text == "wrong" || (text == "strange" && self.are_strict.load(Ordering::Relaxed));
        let violation = Violation { field: "text".to_owned(), description: "expected another".to_owned() };
        if breaks { vec![violation] } else { Vec::new() }
    }
}

impl Rules for Texts {
    fn check_request(&self, path: &str, request: &[u8], _now: Timestamp) -> Vec<Violation> {
        assert!(path.starts_with("/test.Service/"), "{path}");
        self.check(request)
    }

    fn check_message(&self, type_name: &str, message: &[u8], _now: Timestamp) -> Vec<Violation> {
        assert!(type_name.starts_with("test."), "{type_name}");
        self.check(message)
    }
}

macro_rules! workflow {
    ($name:ident, |$ctx:ident, $input:ident| $code:expr) => {
        struct $name;

        impl Workflow for $name {
            const NAME: &'static str = stringify!($name);
            const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("said")];
            type Input = Input;
            type Output = Output;

            async fn run(&self, $ctx: &Context, $input: Input) -> Result<Output, Failure> {
                $code
            }
        }
    };
}

workflow!(Charges, |ctx, _input| {
    ctx.call(Charge::of("wrong", 1)).retry(Retry::patient()).await?;
    Ok(Output::default())
});

// Continues after each step that is refused, and says how many were.
workflow!(Catches, |ctx, input| {
    ctx.call(Put::of(input.text, 0)).await?;
    let refused = [
        ctx.call(Look::of("wrong", 1)).await.unwrap_err(),
        ctx.call(Charge::of("wrong", 1)).await.unwrap_err(),
        ctx.call(Put::of("right", 1)).undo(|_| Cancel::of("wrong", 1)).await.unwrap_err(),
        ctx.child::<Charges>("child", Input::of("wrong", 1)).await.unwrap_err(),
    ];
    ctx.call(Put::of("last", 0)).await?;
    let refused = refused.iter().filter(|failure| failure.code() == Code::InvalidArgument).count();
    Ok(Output::of("", u32::try_from(refused).unwrap()))
});

workflow!(Waits, |ctx, input| {
    ctx.call(Charge::of(input.text, 1)).await?;
    ctx.sleep("a while", Duration::from_secs(3_600)).await?;
    let said: Option<Answer> = ctx.signal("said").within(Duration::from_secs(60)).await?;
    Ok(Output::of(said.map(|said| said.text).unwrap_or_default(), 0))
});

// Its second step fails, so that the first is undone by what was made of its response.
workflow!(Undoes, |ctx, input| {
    ctx.call(Put::of(input.text, 1)).undo_with(|_, answer| Cancel::of(answer.text, answer.number)).await?;
    ctx.call(Charge::of("wrong", 1)).await?;
    Ok(Output::default())
});

fn world(rules: Arc<Texts>, probe: Probe) -> World {
    world_with(services(), rules, probe)
}

fn world_with(services: Services, rules: Arc<Texts>, probe: Probe) -> World {
    let register = move |workflows: &mut Registry| {
        workflows.check_by(rules.clone());
        workflows.register(|| Charges)?;
        workflows.register(|| Catches)?;
        workflows.register(|| Undoes)?;
        workflows.register(|| Waits)
    };
    World::with(services, register, Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_a_rule_fails_its_step_before_it_is_started_and_is_not_tried_again() {
    let world = world(Arc::default(), Probe::counting());
    let run = world.start::<Charges>(Input::default()).await.unwrap();
    let failure = world.result_of::<Charges>(run).await.unwrap_err();
    assert_eq!(failure.code(), Code::InvalidArgument);
    assert!(failure.message().contains("text: expected another"), "{failure}");
    assert_eq!(failure.details()[0].type_name, "google.rpc.BadRequest");
    assert_eq!(failure.step().unwrap().name, "/test.Service/Charge");
    assert_eq!(world.services().arrivals().len(), 0);
    let journal = world.journal(run).await.to_string();
    assert!(!journal.contains("StepStarted") && !journal.contains("AttemptFailed"), "{journal}");
}

#[tokio::test(start_paused = true)]
async fn code_may_go_on_after_a_step_that_was_refused_whenever_its_replica_is_killed() {
    let sweep = crash_everywhere::<Catches>(|probe| world(Arc::default(), probe), Input::of("first", 0)).await;
    assert_eq!(sweep.holds(), &Ok(Output::of("", 4)));
    let world = world(Arc::default(), Probe::counting());
    world.run::<Catches>(Input::of("first", 0)).await.unwrap();
    assert_eq!((world.services().effects_of::<Put>(), world.services().calls()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_made_from_a_response_and_breaks_a_rule_is_not_sent_and_stops_the_run_visibly() {
    let rules: Arc<Texts> = Arc::default();
    rules.are_strict.store(true, Ordering::Relaxed);
    let services = services().on::<Put>(|_| Ok(Answer::of("strange", 2)));
    let world = world_with(services, rules.clone(), Probe::counting());
    let run = world.start::<Undoes>(Input::of("right", 0)).await.unwrap();
    let blocked = world.until(run, State::Blocked).await;
    let reason = &blocked.row.status.reason;
    assert!(reason.starts_with("UNDO_FAILED: Put#0 is not undone (the request of the undo"), "{reason}");
    assert!(reason.contains("text: expected another"), "{reason}");
    assert_eq!(world.services().arrivals_of::<Cancel>(), 0);
    // A crash changes nothing of it, and rules that allow it let the run be undone.
    let world = world.crash(Probe::counting());
    rules.are_strict.store(false, Ordering::Relaxed);
    world.engine().retry(run, Requester::new("ann@host", "the rule was too strict")).await.unwrap();
    assert_eq!(world.end_of(run).await.row.status.state, State::Failed);
    assert_eq!(world.services().arrivals_of::<Cancel>(), 1);
}

#[tokio::test(start_paused = true)]
async fn rules_that_become_stricter_leave_what_is_durable_as_it_is() {
    let rules: Arc<Texts> = Arc::default();
    let world = world(rules.clone(), Probe::counting());
    let run = world.start::<Waits>(Input::of("strange", 0)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    rules.are_strict.store(true, Ordering::Relaxed);
    let world = world.crash(Probe::counting());
    world.result_of::<Waits>(run).await.unwrap();
    assert!(matches!(
        world.start::<Waits>(Input::of("strange", 0)).await,
        Err(EngineError::RulesBroken { part: "input", .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn inputs_signals_and_schedules_that_break_a_rule_are_refused_with_the_field() {
    let world = world(Arc::default(), Probe::counting());
    let field = |error: EngineError| match error {
        EngineError::RulesBroken { part, violations } => format!("{part}.{}", violations[0].field),
        other => panic!("{other}"),
    };
    let refused = world.start::<Waits>(Input::of("wrong", 0)).await.unwrap_err();
    assert_eq!(field(refused), "input.text");

    let run = world.start::<Waits>(Input::default()).await.unwrap();
    let message = Answer::of("wrong", 0).encode_to_vec().into();
    let refused = world.engine().signal(run, "said", message, Requester::new("test", "")).await.unwrap_err();
    assert_eq!(field(refused), "message.text");

    let spec = Spec {
        rules: vec![Rule::Every { interval: Duration::from_secs(60), phase: Duration::ZERO }],
        ..Spec::default()
    };
    let input = Input::of("wrong", 0).encode_to_vec().into();
    let schedule = Schedule { input, ..Schedule::new("tick".to_owned(), "Waits".to_owned(), spec) };
    let refused = world.engine().create_schedule(schedule, Requester::new("test", "")).await.unwrap_err();
    assert_eq!(field(refused), "schedule.input.text");
}

#[tokio::test(start_paused = true)]
async fn a_declared_schedule_whose_input_breaks_a_rule_says_so_at_its_ticks_and_leaves_the_others_alone() {
    let world = world(Arc::default(), Probe::counting());
    let minutely = |name: &str, text: &str| {
        let input = Input::of(text, 0).encode_to_vec().into();
        Schedule { input, ..Schedule::new(name, "Waits", Spec::every(Duration::from_secs(60))) }
    };
    let (engine, declared) = (world.engine().clone(), vec![minutely("broken", "wrong"), minutely("whole", "right")]);
    tokio::spawn(async move { engine.run_schedules(declared, CancellationToken::new()).await });
    tokio::time::sleep(Duration::from_secs(65)).await;
    let whole = world.engine().ticks("whole", None, 10).await.unwrap();
    assert_eq!(whole[0].outcome, TickOutcome::Started, "{whole:?}");
    let broken = world.engine().ticks("broken", None, 10).await.unwrap();
    assert_ne!(broken[0].outcome, TickOutcome::Started, "{broken:?}");
    assert!(broken[0].reason.contains("its input breaks the rules of its contract: text: "), "{broken:?}");
}
