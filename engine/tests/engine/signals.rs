//! Signals: durable before they are acknowledged, kept until they are waited for, received once.

use std::time::Duration;

use crate::common::{Answer, Input, Output, Put, services, until};
use engine::engine::{EngineError, Start};
use engine::steps::race::First2;
use engine::store::{Requester, Store as _};
use engine::testing::{Probe, Reply, World, crash_everywhere_while};
use engine::view::{StepKind, StepState};
use engine::{Code, Context, Failure, Limits, SignalType, State, Workflow};
use prost::Message;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Waits for a signal, and says which way it went.
#[derive(Clone)]
struct Order;

impl Workflow for Order {
    const NAME: &'static str = "test.order";
    const DEADLINE: Duration = Duration::from_secs(30 * 24 * 3_600);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("payment"), SignalType::of::<Input>("note")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("reserve", 0)).await?;
        let paid: Option<Answer> = ctx.signal("payment").within(DAY).await?;
        let said = paid.map_or_else(|| "nothing".to_owned(), |paid| format!("{} {}", paid.text, paid.number));
        ctx.call(Put::of(format!("settle {said}"), 0)).await?;
        Ok(Output::of(said, 0))
    }
}

fn world() -> World {
    probed(Probe::counting())
}

fn probed(probe: Probe) -> World {
    World::with(services(), |registry| registry.register(|| Order), Limits::default(), probe)
}

fn paid(number: u32) -> Answer {
    Answer::of("paid", number)
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_wait_for_it_and_the_run_needs_no_memory_meanwhile() {
    let world = world();
    let run = world.start::<Order>(Input::default()).await.unwrap();
    let waiting = until(&world, run, &[State::Waiting]).await;
    assert_eq!((waiting.row.owned, world.engine().in_flight()), (false, 0));
    assert_eq!(waiting.row.status.awaits, ["payment"]);
    let wait = waiting.steps.last().unwrap();
    assert_eq!((wait.path().as_str(), wait.kind, wait.state), ("payment#1", StepKind::Signal, StepState::Waiting));
    assert_eq!(wait.message_type.as_deref(), Some("test.Answer"));
    tokio::time::sleep(5 * SECOND).await;
    let begun = tokio::time::Instant::now();
    world.signal(run, "payment", &paid(7), None).await.unwrap();
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("paid 7", 0)));
    assert!(begun.elapsed() < SECOND);
    let detail = world.detail(run).await;
    assert_eq!(
        (detail.steps[1].state, detail.steps[1].response.clone()),
        (StepState::Succeeded, Some(paid(7).encode_to_vec().into()))
    );
    assert_eq!(detail.inbox, []);
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_its_signal_is_over_when_its_time_has_passed() {
    let world = world();
    let begun = tokio::time::Instant::now();
    let run = world.start::<Order>(Input::default()).await.unwrap();
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("nothing", 0)));
    assert!(begun.elapsed() >= DAY && begun.elapsed() < DAY + 10 * SECOND);
    assert_eq!(world.detail(run).await.steps[1].state, StepState::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_came_early_is_kept_and_the_oldest_comes_first() {
    let world = world();
    world.services().always::<Put>(Some(Reply::Slow(10 * SECOND)));
    let run = world.start::<Order>(Input::default()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    for number in [1, 2] {
        world.signal(run, "payment", &paid(number), None).await.unwrap();
    }
    assert_eq!(world.detail(run).await.inbox.len(), 2);
    world.probe().kill();
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("paid 1", 0)));
    // What no one received stays to be seen.
    let left = world.detail(run).await.inbox;
    assert_eq!((left.len(), left[0].number, &left[0].payload[..]), (1, 2, &paid(2).encode_to_vec()[..]));
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_was_acknowledged_before_the_time_was_over_counts_although_nobody_held_the_run() {
    let world = world();
    let run = world.start::<Order>(Input::default()).await.unwrap();
    until(&world, run, &[State::Waiting]).await;
    // Acknowledged to whoever sent it, and the replica dies before it hears of it.
    let signal = engine::store::Signal { name: "payment".to_owned(), payload: paid(3).encode_to_vec().into(), room: 9 };
    let command = engine::store::Command {
        run,
        now: world.clock().now(),
        change: engine::store::AuditedChange {
            action: "SignalRun",
            detail: String::new(),
            asked: Requester::new("test", ""),
            schedule: None,
        },
        kind: engine::store::CommandKind::Signal(signal),
    };
    world.probe().kill();
    world.store().command(command).await.unwrap();
    tokio::time::sleep(2 * DAY).await;
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("paid 3", 0)));
}

/// Sleeps for a minute, and takes a payment if there is one.
#[derive(Clone)]
struct Collect;

impl Workflow for Collect {
    const NAME: &'static str = "test.collect";
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("payment")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.sleep("minute", 60 * SECOND).await?;
        let paid: Option<Answer> = ctx.signal("payment").within(Duration::ZERO).await?;
        Ok(Output::of("payments", paid.map_or(0, |paid| paid.number)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_no_length_receives_a_message_that_is_there_already() {
    for sent in [false, true] {
        let world = World::new(services(), |registry| registry.register(|| Collect));
        let run = world.start::<Collect>(Input::default()).await.unwrap();
        tokio::time::sleep(30 * SECOND).await;
        if sent {
            let message = paid(7).encode_to_vec().into();
            world.engine().signal(run, "payment", message, Requester::new("ann", "")).await.unwrap();
        }
        let expected = if sent { 7 } else { 0 };
        assert_eq!(world.result_of::<Collect>(run).await, Ok(Output::of("payments", expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_of_one_request_comes_once() {
    let world = world();
    let run = world.start::<Order>(Input::default()).await.unwrap();
    let request = Some(Uuid::from_u128(9));
    for _ in 0..3 {
        world.signal(run, "payment", &paid(1), request).await.unwrap();
    }
    assert_eq!(world.detail(run).await.row.messages, 1);
    let other = world.signal(run, "payment", &paid(2), request).await.unwrap_err();
    assert!(matches!(other, EngineError::RequestMismatch(_)), "{other}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_received_is_refused() {
    let limits = Limits { inbox_messages: 2, payload_bytes: 100, ..Limits::default() };
    let world = World::with(services(), |registry| registry.register(|| Order), limits, Probe::counting());
    world.services().always::<Put>(Some(Reply::Slow(60 * SECOND)));
    let run = world.start::<Order>(Input::default()).await.unwrap();
    let unknown = world.signal(run, "refund", &paid(1), None).await.unwrap_err();
    assert_eq!(unknown.to_string(), "workflow test.order takes no signal \"refund\"; it takes payment, note");
    let asked = Requester::new("test", "");
    let no_message = world.engine().signal(run, "payment", vec![0xff, 0xff].into(), asked).await.unwrap_err();
    assert!(matches!(no_message, EngineError::InvalidInput { .. }), "{no_message}");
    let large = world.signal(run, "payment", &Answer::of("x".repeat(200), 0), None).await.unwrap_err();
    assert!(matches!(large, EngineError::LimitExceeded { limit: "payload_bytes", .. }), "{large}");
    for number in 0..2 {
        world.signal(run, "note", &Input::of("note", number), None).await.unwrap();
    }
    let full = world.signal(run, "payment", &paid(1), None).await.unwrap_err();
    assert!(matches!(full, EngineError::LimitExceeded { limit: "inbox_messages", max: 2, .. }), "{full}");
    let nobody = world.signal(Uuid::from_u128(5), "payment", &paid(1), None).await.unwrap_err();
    assert!(matches!(nobody, EngineError::NotFound(_)), "{nobody}");
    world.engine().cancel(run, asked_to_end()).await.unwrap();
    until(&world, run, &[State::Cancelled]).await;
    let late = world.signal(run, "payment", &paid(1), None).await.unwrap_err();
    assert!(matches!(late, EngineError::Precondition { state: State::Cancelled, .. }), "{late}");
}

fn asked_to_end() -> Requester {
    Requester::new("test", "enough")
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_is_cancelled_at_once_and_its_deadline_bounds_the_wait() {
    let world = world();
    let run = world.start::<Order>(Input::default()).await.unwrap();
    until(&world, run, &[State::Waiting]).await;
    world.engine().cancel(run, asked_to_end()).await.unwrap();
    until(&world, run, &[State::Cancelled]).await;
    let start = Start { deadline: Some(60 * SECOND), ..start() };
    let run = world.engine().start(start).await.unwrap().id;
    assert_eq!(world.result_of::<Order>(run).await.unwrap_err().code(), Code::DeadlineExceeded);
}

fn start() -> Start {
    Start { workflow: Order::NAME.to_owned(), input: Vec::new().into(), asked: Some(asked_to_end()), deadline: None }
}

#[tokio::test(start_paused = true)]
async fn signals_survive_a_crash_at_every_point() {
    let sweep = crash_everywhere_while::<Order>(probed, Input::default(), async |world, run| {
        tokio::time::sleep(20 * SECOND).await;
        // Refused where the run has ended, which is as well.
        let _ended = world.signal(run, "payment", &paid(4), Some(Uuid::from_u128(4))).await;
    })
    .await;
    assert_eq!(sweep.holds(), &Ok(Output::of("paid 4", 0)));
    assert!(sweep.points.contains(&"commanded"), "{:?}", sweep.points);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_while_the_wait_is_being_written_is_not_missed() {
    // Which point it falls on is tried out: every few milliseconds of the run's first second.
    for at in 0..60 {
        let world = probed(Probe::slow(Duration::from_millis(60), None));
        let run = world.start::<Order>(Input::default()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(at * 12)).await;
        world.signal(run, "payment", &paid(1), None).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(world.result_of::<Order>(run).await, Ok(Output::of("paid 1", 0)), "sent at {at}");
        assert!(begun.elapsed() < 5 * SECOND, "sent at {at}, received after {:?}", begun.elapsed());
    }
}

/// Two waits at the same time, one of them in a race.
#[derive(Clone)]
struct Desk;

impl Workflow for Desk {
    const NAME: &'static str = "test.desk";
    const SIGNALS: &'static [SignalType] = Order::SIGNALS;
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        let first = match ctx.race((ctx.signal::<Answer>("payment"), ctx.sleep("closing", 10 * SECOND))).await? {
            First2::First(answer) => answer.text,
            First2::Second(()) => "closed".to_owned(),
        };
        let (payment, note) = ctx.all((ctx.signal::<Answer>("payment"), ctx.signal::<Input>("note"))).await?;
        let put = ctx.call(Put::of(format!("{first} {} {}", payment.number, note.text), 0)).await?;
        Ok(Output::of(put.text, 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_lost_a_race_receives_nothing() {
    let world = World::new(services(), |registry| registry.register(|| Desk));
    let run = world.start::<Desk>(Input::default()).await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let detail = world.detail(run).await;
    assert_eq!((detail.steps[0].kind, detail.steps[0].state), (StepKind::Signal, StepState::Withdrawn));
    world.signal(run, "note", &Input::of("hello", 0), None).await.unwrap();
    world.signal(run, "payment", &paid(8), None).await.unwrap();
    assert_eq!(world.result_of::<Desk>(run).await, Ok(Output::of("closed 8 hello", 0)));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_receipt_a_retry_forgets_is_received_again() {
    for crash in [false, true] {
        let world = World::new(services(), |registry| registry.register(|| Twofold));
        world.services().script::<Put>([Reply::Refuse(Code::NotFound), Reply::Slow(Duration::ZERO)]);
        let run = world.start::<Twofold>(Input::default()).await.unwrap();
        world.signal(run, "payment", &paid(5), None).await.unwrap();
        until(&world, run, &[State::Failed]).await;
        world.engine().retry(run, Requester::new("test", "mended")).await.unwrap();
        let world = if crash {
            world.probe().kill();
            world.crash(Probe::counting())
        } else {
            world
        };
        assert_eq!(world.result_of::<Twofold>(run).await, Ok(Output::of("", 5)));
    }
}

/// Continues to a wait although its first step failed, and fails for it in the end.
#[derive(Clone)]
struct Twofold;

impl Workflow for Twofold {
    const NAME: &'static str = "test.twofold";
    const SIGNALS: &'static [SignalType] = Order::SIGNALS;
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        let first = ctx.call(Put::of("first", 0)).await;
        let paid = ctx.signal::<Answer>("payment").await?;
        first?;
        Ok(Output::of("", paid.number))
    }
}

#[derive(Clone)]
struct Undeclared;

impl Workflow for Undeclared {
    const NAME: &'static str = "test.undeclared";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.signal::<Answer>("payment").await?;
        Ok(Output::default())
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_signal_that_is_not_declared_stops_the_run_visibly() {
    let world = World::new(services(), |registry| registry.register(|| Undeclared));
    let run = world.start::<Undeclared>(Input::default()).await.unwrap();
    let reason = until(&world, run, &[State::Blocked]).await.row.status.reason;
    assert!(reason.starts_with("SIGNAL_UNDECLARED: the workflow waits for payment: test.Answer"), "{reason}");
}
