//! Journals that are none: whatever bytes a store brings, a run is shown as blocked, and nothing panics (F1, F3).

use bytes::Bytes;
use engine::journal::decode_entry;
use engine::journal_v1 as stored;
use engine::store::{NewRun, Requester, Status};
use engine::testing::World;
use engine::time::Timestamp;
use engine::{Context, Failure, State, Workflow};
use proptest::prelude::*;
use prost::Message;
use uuid::Uuid;

use crate::common::{Input, Look, Output, Put, services, workflow};

#[derive(Clone)]
struct Two;

impl Workflow for Two {
    const NAME: &'static str = "test.two";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let look = ctx.call(Look::of("look", input.number)).await?;
        let put = ctx.call(Put::of("put", look.number)).await?;
        Ok(Output::of("done", put.number))
    }
}

fn place() -> impl Strategy<Value = Option<stored::Place>> {
    let names = prop_oneof![Just("/test.Service/Look"), Just("/test.Service/Put"), Just("now"), Just("")];
    let branches = prop_oneof![Just(""), Just("a[1]"), Just("a[1]/b[2]"), Just("/[")];
    prop::option::of((branches, 0_u32..4, names).prop_map(|(branch, position, name)| stored::Place {
        branch: branch.to_owned(),
        position,
        name: name.to_owned(),
    }))
}

fn kind() -> impl Strategy<Value = Option<stored::fact::Kind>> {
    use stored::fact::Kind;
    let bytes = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    prop_oneof![
        Just(None),
        bytes().prop_map(|value| {
            let input = Some(stored::Payload { type_name: "test.Input".to_owned(), value });
            Some(Kind::Created(stored::Created { input, ..Default::default() }))
        }),
        (place(), any::<u32>(), bytes(), ".{0,40}", -1..6_i32).prop_map(|(place, incarnation, request, key, level)| {
            let started = stored::StepStarted {
                place,
                incarnation,
                request_hash: request.clone(),
                request,
                key,
                level,
                ..Default::default()
            };
            Some(Kind::StepStarted(started))
        }),
        (0..6_u64, any::<u32>()).prop_map(|(step, attempt)| {
            Some(Kind::AttemptStarted(stored::AttemptStarted { step, attempt, ..Default::default() }))
        }),
        (0..6_u64, place(), any::<u32>(), -1..5_i32, any::<i64>(), any::<bool>()).prop_map(
            |(step, place, attempt, outcome, at, not_counted)| {
                Some(Kind::AttemptFailed(stored::AttemptFailed {
                    not_counted,
                    step,
                    place,
                    attempt,
                    outcome,
                    retry_at_micros: at,
                    failure: None,
                }))
            }
        ),
        (0..6_u64, place(), bytes()).prop_map(|(step, place, response)| {
            let result = Some(stored::step_settled::Result::Response(response));
            Some(Kind::StepSettled(stored::StepSettled { step, place, result, ..Default::default() }))
        }),
        (place(), bytes()).prop_map(|(place, value)| Some(Kind::Recorded(stored::Recorded { place, value }))),
        (place(), any::<i64>())
            .prop_map(|(place, until_micros)| Some(Kind::SleepStarted(stored::SleepStarted { place, until_micros }))),
        (place(), any::<u32>()).prop_map(|(place, width)| Some(Kind::FanOutStarted(stored::FanOutStarted {
            place,
            width,
            duplicates: vec![7]
        }))),
        (place(), any::<bool>(), proptest::option::of(forgotten())).prop_map(|(place, new_incarnation, forgotten)| {
            let (reason, keeps_ending) = (String::new(), false);
            Some(Kind::Reset(stored::Reset { place, new_incarnation, reason, keeps_ending, forgotten }))
        }),
        (place(), any::<i64>()).prop_map(|(place, until_micros)| {
            Some(Kind::SignalAwaited(stored::SignalAwaited { place, until_micros, type_name: String::new() }))
        }),
        (0..6_u64, any::<u64>()).prop_map(|(step, message)| {
            Some(Kind::StepSettled(stored::StepSettled { step, message, ..Default::default() }))
        }),
        (place(), any::<u32>(), 0..6_u64).prop_map(|(place, winner, step)| {
            Some(Kind::RaceDecided(stored::RaceDecided { place, winner, withdrawn: vec![step] }))
        }),
        (place(), "[a/]{0,3}")
            .prop_map(|(place, path)| Some(Kind::BranchStarted(stored::BranchStarted { place, path }))),
        Just(Some(Kind::Ending(stored::Ending::default()))),
        Just(Some(Kind::Ended(stored::Ended::default()))),
    ]
}

fn forgotten() -> impl Strategy<Value = stored::Forgotten> {
    let spans = proptest::collection::vec((0..8_u64, 0..8_u64), 0..3);
    let renewed = proptest::collection::vec(("[a/]{0,3}", 0..3_u32, any::<u32>()), 0..3);
    let numbers = || proptest::collection::vec(0..8_u64, 0..3);
    (spans, numbers(), renewed, numbers()).prop_map(|(spans, reopened, renewed, kept)| stored::Forgotten {
        kept,
        facts: spans.into_iter().map(|(first, last)| stored::Span { first, last }).collect(),
        reopened,
        renewed: renewed
            .into_iter()
            .map(|(branch, position, incarnation)| stored::Renewed { branch, position, incarnation })
            .collect(),
    })
}

/// A run whose journal is this entry is claimed; says which state it comes to.
fn claimed_with(entry: Bytes, facts: u64) -> State {
    claimed_and(entry, facts, false)
}

/// The same, an hour after an operator cancelled it where it stands.
fn claimed_and(entry: Bytes, facts: u64, cancel: bool) -> State {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(services(), |registry| registry.register(|| Two));
        let id = Uuid::now_v7();
        let now = world.clock().now();
        let status = Status {
            state: State::Pending,
            reason: String::new(),
            ending_as: None,
            wake_at: Some(now),
            awaits: Vec::new(),
            steps: 0,
            error: None,
        };
        let run = NewRun {
            id,
            workflow: Two::NAME.to_owned(),
            workflow_version: 1,
            created_at: now,
            deadline: Timestamp::from_micros(now.as_micros() + 60_000_000),
            origin: None,
            previous_success: None,
            parent: None,
            change: None,
            claimed: false,
            entry,
            facts,
            status,
        };
        world.engine().writable_store().create(run).await.unwrap();
        for _ in 0..400 {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let row = world.engine().store().run(id).await.unwrap().unwrap();
            let _seen = world.engine().detail(id).await;
            if row.status.state.is_end() || matches!(row.status.state, State::Blocked | State::NeedsDecision) {
                if !cancel {
                    return row.status.state;
                }
                world.engine().cancel(id, Requester::new("ann", "enough")).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
                return world.engine().store().run(id).await.unwrap().unwrap().status.state;
            }
        }
        State::Running
    })
}

#[test]
fn a_cancel_does_not_end_a_run_of_which_it_is_not_known_what_it_has_in_flight() {
    assert_eq!(claimed_and(Bytes::from_static(b"no journal"), 3, true), State::Blocked);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_journal_and_block_their_run(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
        let state = claimed_with(bytes.into(), 3);
        prop_assert!(matches!(state, State::Blocked | State::Failed), "{state}");
    }

    #[test]
    fn facts_in_any_order_never_panic(kinds in prop::collection::vec(kind(), 0..12)) {
        let created = stored::fact::Kind::Created(stored::Created::default());
        let facts: Vec<_> = std::iter::once(Some(created)).chain(kinds)
            .map(|kind| stored::Fact { time_micros: 1, kind })
            .collect();
        let count = facts.len() as u64;
        let entry: Bytes = stored::Entry { facts }.encode_to_vec().into();
        prop_assert_eq!(decode_entry(count, entry.clone()).map(|facts| facts.len() as u64), Ok(count));
        let state = claimed_with(entry, count);
        prop_assert!(state != State::Running, "the run neither ended nor stopped");
    }
}

workflow!(Hoarder, "test.hoarder", |ctx, _input| {
    for number in 0..1_000 {
        if number % 100 == 99 {
            ctx.sleep("rest", std::time::Duration::from_secs(4)).await?;
        }
        ctx.call(crate::common::Put::of("x".repeat(10_000), 1)).await?;
    }
    Ok(crate::common::Output::of("done", 0))
});

fn limited(journal_bytes: usize) -> engine::Limits {
    engine::Limits { journal_bytes, ..engine::Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_journal_comes_beyond_the_limit_ends_and_says_so() {
    let register = |registry: &mut engine::Registry| registry.register(|| Hoarder);
    let world =
        engine::testing::World::with(services(), register, limited(500_000), engine::testing::Probe::counting());
    let failure = world.run::<Hoarder>(crate::common::Input::default()).await.unwrap_err();
    assert!(failure.message().contains("the limit journal_bytes is 500000"), "{failure}");
    let sent = world.services().arrivals_of::<crate::common::Put>();
    assert!(sent > 10 && sent < 50, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_of_more_than_twice_the_limit_is_not_read_and_its_run_waits_visibly() {
    let register = |registry: &mut engine::Registry| registry.register(|| Hoarder);
    let world =
        engine::testing::World::with(services(), register, limited(90_000_000), engine::testing::Probe::counting());
    let run = world.start::<Hoarder>(crate::common::Input::default()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(18)).await;
    world.probe().kill();
    let world = world.crash_and_limit(limited(500_000));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let row = world.engine().store().run(run).await.unwrap().unwrap();
    assert_eq!(row.status.state, engine::State::Blocked);
    assert!(row.status.reason.contains("more than 1000000 bytes"), "{}", row.status.reason);
    assert!(world.engine().detail(run).await.is_err());
}
