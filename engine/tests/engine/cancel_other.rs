//! `CANCEL_OTHER`: the next run of a schedule begins behind the end of the one before, whatever is asked of either meanwhile
//! (T3).

use engine::decision::{Decision, Verdict};
use engine::schedule::{Overlap, Spec};
use engine::store::{ListAudit, RunRow, Schedule};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, State, Workflow};
use prost::Message;
use uuid::Uuid;

use crate::common::{Answer, Charge, Input, Output, Put, services, until};
use crate::scheduling::{MINUTE, SECOND, asked, run, runs};

/// Charges, and so may need a decision; then takes an hour.
struct Pay;

impl Workflow for Pay {
    const NAME: &'static str = "test.pay";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("begun", 1)).await?;
        ctx.call(Charge::of("charge", 1)).await?;
        ctx.sleep("work", MINUTE * 60).await?;
        Ok(Output::default())
    }
}

fn world() -> World {
    World::new(services(), |registry| registry.register(|| Pay))
}

fn paying() -> Schedule {
    let mut schedule = Schedule::new("each", Pay::NAME, Spec::every(MINUTE));
    schedule.input = Input::of("", 1).encode_to_vec().into();
    schedule.policy.overlap = Overlap::CancelOther;
    // Two ticks.
    schedule.spec.end = Some(crate::scheduling::at(3));
    schedule
}

fn begun(world: &World) -> usize {
    world.services().arrivals_of::<Put>()
}

/// The first run needs a decision, was asked to end, and the second waits for it.
async fn behind(schedule: Schedule) -> (World, RunRow, RunRow) {
    let world = world();
    world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 2 + SECOND * 10).await;
    let [first, second] = &runs(&world).await[..] else { panic!("two runs") };
    assert_eq!((first.status.state, first.status.ending_as), (State::NeedsDecision, Some(State::Cancelled)));
    assert_eq!((second.status.state, begun(&world)), (State::Pending, 1));
    assert!(second.status.reason.starts_with("BEHIND: "), "{}", second.status.reason);
    (world, first.clone(), second.clone())
}

#[tokio::test(start_paused = true)]
async fn the_audit_trail_of_the_schedule_has_the_cancel() {
    let (world, first, _) = behind(paying()).await;
    let of_it = ListAudit::of_schedule("each", 10);
    let entries = world.engine().store().audit(of_it).await.unwrap();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((entry.action.as_str(), entry.run, entry.caller.as_str()), ("CancelRun", first.id, "schedule each"));
    // It is one of the run as well, and no other schedule's.
    let of_the_run = ListAudit::of_run(first.id, 10);
    assert_eq!(world.engine().store().audit(of_the_run).await.unwrap(), entries);
    let of_another = ListAudit::of_schedule("other", 10);
    assert_eq!(world.engine().store().audit(of_another).await.unwrap(), []);
}

async fn decide(world: &World, run: Uuid) {
    let verdict = Verdict::Happened(Answer::of("charge", 1).encode_to_vec().into());
    let happened = Decision { step: "Charge#1".to_owned(), incarnation: 1, attempt: 1, verdict };
    world.engine().resolve(run, happened, asked()).await.unwrap();
    world.end_of(run).await;
}

#[tokio::test(start_paused = true)]
async fn it_begins_once_the_decision_about_the_one_before_has_come() {
    let (world, first, second) = behind(paying()).await;
    tokio::time::sleep(MINUTE * 30).await;
    assert_eq!(begun(&world), 1);
    decide(&world, first.id).await;
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!(begun(&world), 2);
    until(&world, second.id, &[State::Waiting]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_a_resume_let_it_begin_no_earlier() {
    for crash in [false, true] {
        let (mut world, first, second) = behind(paying()).await;
        world.engine().pause(second.id, false, asked()).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        if crash {
            world = world.crash(Probe::counting());
            run(&world, vec![paying()]);
        }
        world.engine().resume(second.id, asked()).await.unwrap();
        tokio::time::sleep(MINUTE * 10).await;
        let status = world.detail(second.id).await.row.status;
        assert_eq!((status.state, begun(&world)), (State::Pending, 1), "{status:?}");
        assert!(status.reason.starts_with("BEHIND: "), "it says why it waits again: {}", status.reason);
        decide(&world, first.id).await;
        until(&world, second.id, &[State::Waiting]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_paused_when_the_one_before_ends_begins_when_it_is_resumed() {
    let (world, first, second) = behind(paying()).await;
    world.engine().pause(second.id, false, asked()).await.unwrap();
    decide(&world, first.id).await;
    tokio::time::sleep(MINUTE * 10).await;
    assert_eq!((world.detail(second.id).await.row.status.state, begun(&world)), (State::Paused, 1));
    world.engine().resume(second.id, asked()).await.unwrap();
    until(&world, second.id, &[State::Waiting]).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cancelled_ends_without_having_begun() {
    let (world, first, second) = behind(paying()).await;
    world.engine().cancel(second.id, asked()).await.unwrap();
    assert_eq!(world.end_of(second.id).await.row.status.state, State::Cancelled);
    decide(&world, first.id).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(begun(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn its_deadline_is_not_put_off_by_the_wait() {
    let mut schedule = paying();
    schedule.policy.deadline = Some(MINUTE * 20);
    let (world, first, second) = behind(schedule).await;
    let ended = world.end_of(second.id).await;
    assert_eq!(ended.row.status.state, State::Failed);
    let after = ended.row.ended_at.unwrap().since(second.created_at);
    assert!((MINUTE * 20..MINUTE * 20 + SECOND * 10).contains(&after), "{after:?}");
    assert_eq!(begun(&world), 1, "it never began");
    assert_eq!(world.detail(first.id).await.row.status.state, State::NeedsDecision);
}

#[tokio::test(start_paused = true)]
async fn a_crash_lets_it_wait_as_before() {
    let (world, first, second) = behind(paying()).await;
    let world = world.crash(Probe::counting());
    run(&world, vec![paying()]);
    tokio::time::sleep(MINUTE * 5).await;
    assert_eq!(begun(&world), 1);
    decide(&world, first.id).await;
    until(&world, second.id, &[State::Waiting]).await;
}

#[tokio::test(start_paused = true)]
async fn each_next_tick_takes_the_place_of_the_one_that_waits() {
    let mut schedule = paying();
    schedule.spec.end = None;
    let (world, first, _) = behind(schedule).await;
    tokio::time::sleep(MINUTE * 5).await;
    let states: Vec<State> = runs(&world).await.iter().map(|run| run.status.state).collect();
    let (last, others) = states[1..].split_last().unwrap();
    assert!(others.iter().all(|state| *state == State::Cancelled) && *last == State::Pending, "{states:?}");
    assert_eq!(begun(&world), 1);
    decide(&world, first.id).await;
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(begun(&world), 2, "only the last one begins");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_ends_with_its_schedule_and_says_why() {
    let world = world();
    world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
    run(&world, Vec::new());
    world.engine().create_schedule(paying(), asked()).await.unwrap();
    tokio::time::sleep(MINUTE * 2 + SECOND * 10).await;
    let [first, second] = &runs(&world).await[..] else { panic!("two runs") };
    world.engine().delete_schedule("each".to_owned(), None, asked()).await.unwrap();
    let ended = world.end_of(second.id).await;
    assert_eq!(ended.row.status.state, State::Cancelled);
    assert_eq!(ended.row.cancel_requested.as_deref(), Some("its schedule was deleted"));
    decide(&world, first.id).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(begun(&world), 1);
}

/// Does harm, which blocks it.
struct Harm;

impl Workflow for Harm {
    const NAME: &'static str = "test.harm";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _input: Input) -> Result<Output, Failure> {
        ctx.call(Put::of("begun", 1)).await?;
        panic!("no luck")
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_run_ends_and_the_next_begins() {
    let world = World::new(services(), |registry| registry.register(|| Harm));
    let mut schedule = Schedule { workflow: Harm::NAME.to_owned(), ..paying() };
    schedule.spec = Spec::every(MINUTE * 30);
    schedule.policy.deadline = Some(MINUTE * 300);
    run(&world, vec![schedule]);
    tokio::time::sleep(MINUTE * 59).await;
    assert_eq!(runs(&world).await[0].status.state, State::Blocked);
    tokio::time::sleep(MINUTE * 2).await;
    let states: Vec<State> = runs(&world).await.iter().map(|run| run.status.state).collect();
    assert_eq!(states[0], State::Cancelled);
    assert_eq!((states.len(), begun(&world)), (2, 2), "{states:?}");
}
