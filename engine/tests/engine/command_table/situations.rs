//! Where a run stands when a command comes: every state and reason, in every place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::decision::{Decision, Verdict};
use engine::engine::Start;
use engine::store::{AuditedChange, Command, CommandKind, Requester, RunRow, Store as _, UnownedAppend};
use engine::testing::{Probe, Reply, World};
use engine::{Code, Context, Failure, Limits, Registry, Retry, SignalType, State, Workflow};
use prost::Message as _;
use uuid::Uuid;

use crate::common::{Answer, Cancel, Charge, Input, Look, Output, Put, services, until};

const SECOND: Duration = Duration::from_secs(1);
/// For so long a run sleeps, waits for its next attempt, or for a message.
const NAP: Duration = Duration::from_secs(600);

/// Where the run is when the command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In memory of this replica.
    Memory,
    /// Only in the store.
    Store,
    /// The store has claimed it for this replica, and the answer is on its way.
    Claimed,
    /// The replica that held it, or gave it back, has died, and the next one has asked for what was left.
    Restarted,
}

/// An undoable put; then what the input says; then a put that is not undone.
struct Steered {
    /// Whether its code is as its author did not want it.
    broken: Arc<AtomicBool>,
}

impl Workflow for Steered {
    const NAME: &'static str = "test.every-command";
    const DEADLINE: Duration = Duration::from_secs(24 * 3_600);
    const SIGNALS: &'static [SignalType] = &[SignalType::of::<Answer>("note")];
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, Failure> {
        let late = Retry::try_new(5, NAP, 1.0, NAP, 0.0).unwrap_or_default();
        let broken = self.broken.load(Ordering::SeqCst);
        let undoable = |text: &'static str| {
            ctx.call(Put::of(text, 1)).retry(late).undo(move |_| Cancel::of(text, 0)).undo_retry(late)
        };
        let charge = || ctx.call(Charge::of("charge", 1)).timeout(SECOND).retry(Retry::never());
        let mut note = None;
        undoable("first").await?;
        match input.text.as_str() {
            "sleep" if broken => ctx.sleep("other", NAP).await?,
            "sleep" => ctx.sleep("nap", NAP).await?,
            "signal" => note = ctx.signal::<Answer>("note").within(NAP).await?,
            "child" => drop(ctx.child::<Leaf>("child", Input::default()).await?),
            "careless" => {
                let _going = ctx.child::<Leaf>("child", Input::default()).start();
                return Ok(Output::default());
            }
            "call" => drop(undoable("second").await?),
            "charge" => drop(charge().await?),
            "charge beside" => drop(ctx.all((charge(), undoable("second"))).await?),
            "code" if broken => return Err(Failure::new(Code::Aborted, "its own decision")),
            "panic" if broken => panic!("no luck"),
            "panic beside" => {
                let both = ctx.fan_out("item", ["slow", "quick"], move |ctx, item| async move {
                    ctx.call(Look::of(item, 1)).await?;
                    match item {
                        "slow" => drop(ctx.call(Put::of("second", 1)).undo(|_| Cancel::of("second", 0)).await?),
                        _ if broken => drop(ctx.signal::<Answer>("undeclared").await?),
                        _ => {}
                    }
                    Ok(())
                });
                drop(both.key(|item| (*item).to_owned()).await);
            }
            _ => {}
        }
        ctx.call(Put::of("last", 1)).await?;
        Ok(Output::of(note.map(|note| note.text).unwrap_or_default(), 0))
    }
}

/// Sleeps, and looks.
#[derive(Clone)]
struct Leaf;

impl Workflow for Leaf {
    const NAME: &'static str = "test.every-command-leaf";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.sleep("nap", NAP).await?;
        ctx.call(Look::of("leaf", 1)).await?;
        Ok(Output::default())
    }
}

/// Looks, and takes the only room in memory for that time.
#[derive(Clone)]
struct Filler;

impl Workflow for Filler {
    const NAME: &'static str = "test.every-command-filler";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: &Context, _: Input) -> Result<Output, Failure> {
        ctx.call(Look::of("filler", 1)).await?;
        Ok(Output::default())
    }
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub(crate) fn asked() -> Requester {
    Requester::new("ann", "because")
}

/// A run in a situation.
pub(crate) struct Steerable {
    pub(crate) world: World,
    pub(crate) run: Uuid,
    broken: Arc<AtomicBool>,
}

impl Steerable {
    /// The run in this situation and place.
    pub(crate) async fn of(situation: &str, place: Place) -> Self {
        let here = Self::begin(situation, place).await;
        let state = |row: &RunRow| format!("{situation} in {place:?}: {:?}", row.status);
        let row = here.row().await;
        match place {
            Place::Memory => assert!(row.owned && here.world.engine().in_flight() > 0, "{}", state(&row)),
            Place::Store => assert!(!row.owned, "{}", state(&row)),
            Place::Claimed => {
                assert!(row.owned, "{}", state(&row));
                assert_eq!(here.world.engine().in_flight(), 0, "{}", state(&row));
            }
            Place::Restarted => return here.restarted().await,
        }
        here
    }

    async fn begin(situation: &str, place: Place) -> Self {
        let broken = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&broken);
        let register = move |registry: &mut Registry| {
            let shared = Arc::clone(&shared);
            registry.register(move || Steered { broken: Arc::clone(&shared) })?;
            registry.register(|| Leaf)?;
            registry.register(|| Filler)
        };
        let lingers = matches!(place, Place::Memory | Place::Restarted);
        let linger = if lingers { Duration::from_secs(3_600) } else { Limits::default().linger };
        let runs_in_flight = if situation == "PENDING" { 1 } else { 100 };
        let limits = Limits { linger, runs_in_flight, ..Limits::default() };
        let world = World::with(services(), register, limits, Probe::counting());
        let here = Self { run: Uuid::nil(), world, broken };
        here.bring_to(situation, place).await
    }

    async fn bring_to(mut self, situation: &str, place: Place) -> Self {
        let beside = place == Place::Memory || place == Place::Restarted;
        let slow = |span| self.world.services().script::<Put>([Reply::Slow(Duration::ZERO), Reply::Slow(span)]);
        let lost = || self.world.services().script::<Charge>([Reply::BreakFirst(Code::Unavailable)]);
        let claimed = place == Place::Claimed;
        match situation {
            "PENDING" => {
                self.world.services().script::<Look>([Reply::Slow(25 * SECOND)]);
                self.world.start::<Filler>(Input::default()).await.unwrap();
                self.start("").await;
                if claimed {
                    pass(5).await;
                    self.world.hold_claims();
                    pass(25).await;
                }
            }
            "RUNNING" => {
                slow(25 * SECOND);
                self.start("call").await;
                pass(1).await;
            }
            "RUNNING, to be paused" => {
                slow(25 * SECOND);
                self.start("call").await;
                pass(1).await;
                self.world.engine().pause(self.run, false, asked()).await.unwrap();
            }
            "WAITING for a time" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                self.waiting(State::Waiting, claimed.then_some(601)).await;
            }
            "WAITING for a signal" => {
                self.start("signal").await;
                self.waiting(State::Waiting, claimed.then_some(601)).await;
            }
            "WAITING for a child" => {
                self.world.services().script::<Look>([Reply::Slow(20 * SECOND)]);
                self.start("child").await;
                self.waiting(State::Waiting, None).await;
                if claimed {
                    pass(600).await;
                    self.waiting(State::Waiting, Some(40)).await;
                }
            }
            "BACKING_OFF" => {
                self.world.services().script::<Put>([Reply::Slow(Duration::ZERO), Reply::NotSent]);
                self.start("call").await;
                self.waiting(State::BackingOff, claimed.then_some(601)).await;
            }
            "BACKING_OFF after a panic" => {
                self.start("panic").await;
                until(&self.world, self.run, &[State::BackingOff]).await;
                if claimed {
                    self.world.hold_claims();
                    pass(3).await;
                }
            }
            "BACKING_OFF, service down" => {
                self.broken.store(false, Ordering::SeqCst);
                self.world.services().take_down("gone");
                self.start("call").await;
                self.waiting(State::BackingOff, claimed.then_some(20)).await;
            }
            "PAUSED" | "PAUSED, clock stopped" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                pass(10).await;
                self.world.engine().pause(self.run, situation != "PAUSED", asked()).await.unwrap();
                self.waiting(State::Paused, None).await;
            }
            "PAUSED with a step in doubt" => {
                lost();
                slow(3 * SECOND);
                self.start("charge beside").await;
                pass(1).await;
                self.world.engine().pause(self.run, false, asked()).await.unwrap();
                pass(10).await;
            }
            "NEEDS_DECISION" | "NEEDS_DECISION, one in flight" | "NEEDS_DECISION, ending" => {
                lost();
                slow(25 * SECOND);
                self.start(if situation == "NEEDS_DECISION" { "charge" } else { "charge beside" }).await;
                pass(1).await;
                if situation == "NEEDS_DECISION, ending" {
                    self.world.engine().cancel(self.run, asked()).await.unwrap();
                }
                pass(if beside { 9 } else { 40 }).await;
            }
            "BLOCKED, JOURNAL_MISMATCH" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                pass(10).await;
                self.broken.store(true, Ordering::SeqCst);
                self = self.killed();
                pass(10).await;
                if self.row().await.status.state != State::Blocked {
                    pass(600).await;
                }
            }
            "BLOCKED, SIGNAL_UNDECLARED" => {
                slow(25 * SECOND);
                self.world.services().script::<Look>([Reply::Slow(Duration::ZERO), Reply::Slow(2 * SECOND)]);
                self.start("panic beside").await;
                pass(if beside { 10 } else { 60 }).await;
            }
            "BLOCKED, POISON" => {
                self.start("panic").await;
                pass(60).await;
            }
            "BLOCKED, JOURNAL_UNREADABLE" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                pass(10).await;
                self.world.engine().pause(self.run, false, asked()).await.unwrap();
                pass(10).await;
                self.spoil().await;
                self.world.engine().resume(self.run, asked()).await.unwrap();
                pass(10).await;
            }
            "BLOCKED, UNDO_FAILED" => {
                self.world.services().always::<Cancel>(Some(Reply::Refuse(Code::PermissionDenied)));
                self.start("code").await;
                pass(10).await;
            }
            "ENDING, in flight" => {
                slow(25 * SECOND);
                self.start("call").await;
                pass(1).await;
                self.world.engine().cancel(self.run, asked()).await.unwrap();
                pass(1).await;
            }
            "ENDING, undoing" => {
                self.world.services().script::<Cancel>([Reply::NotSent]);
                self.start("code").await;
                self.waiting(State::Ending, claimed.then_some(601)).await;
            }
            "ENDING, paused before" => {
                self.world.services().always::<Cancel>(Some(Reply::NotSent));
                self.broken.store(false, Ordering::SeqCst);
                let deadline = Some(Duration::from_secs(3_600));
                let (workflow, input) = (Steered::NAME.to_owned(), Input::of("sleep", 0).encode_to_vec().into());
                let start = Start { workflow, input, asked: None, deadline };
                self.run = self.world.engine().start(start).await.unwrap().id;
                pass(10).await;
                self.world.engine().pause(self.run, false, asked()).await.unwrap();
                pass(3_600).await;
                self.waiting(State::Ending, claimed.then_some(601)).await;
            }
            "ENDING, waiting for a child" => {
                self.world.services().script::<Look>([Reply::Slow(20 * SECOND)]);
                self.start("careless").await;
                self.waiting(State::Ending, None).await;
                if claimed {
                    pass(600).await;
                    self.waiting(State::Ending, Some(40)).await;
                }
            }
            "SUCCEEDED" => {
                self.start("").await;
                self.world.end_of(self.run).await;
            }
            "FAILED at a step" => {
                self.world.services().script::<Charge>([Reply::Refuse(Code::FailedPrecondition)]);
                self.start("charge").await;
                self.world.end_of(self.run).await;
            }
            "FAILED by its code" => {
                self.start("code").await;
                self.world.end_of(self.run).await;
            }
            "CANCELLED" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                pass(10).await;
                self.world.engine().cancel(self.run, asked()).await.unwrap();
                self.world.end_of(self.run).await;
            }
            "TERMINATED" => {
                self.broken.store(false, Ordering::SeqCst);
                self.start("sleep").await;
                pass(10).await;
                self.world.engine().terminate(self.run, asked()).await.unwrap();
            }
            other => panic!("{other} is not among the situations"),
        }
        self
    }

    async fn start(&mut self, input: &str) {
        self.run = self.world.start::<Steered>(Input::of(input, 0)).await.unwrap();
    }

    /// Waits until the run is in this state, and was given back where it does not linger. Then claims are held back, and it
    /// becomes due within this time.
    async fn waiting(&self, state: State, due_within: Option<u64>) {
        until(&self.world, self.run, &[state]).await;
        pass(7).await;
        if let Some(seconds) = due_within {
            self.world.hold_claims();
            pass(seconds).await;
        }
    }

    fn killed(self) -> Self {
        self.world.probe().kill();
        Self { world: self.world.crash(Probe::counting()), ..self }
    }

    /// The replica has died; the next one has asked for what it held, and has no answer yet.
    async fn restarted(self) -> Self {
        self.world.hold_claims();
        let here = self.killed();
        pass(1).await;
        here
    }

    /// Adds bytes to the journal that are no facts.
    async fn spoil(&self) {
        let row = self.row().await;
        let (epoch, sequence, control, deadline) = (row.epoch, row.sequence, row.control, row.deadline);
        let status = engine::store::Status { wake_at: Some(self.world.clock().now()), ..row.status };
        let entry = vec![0xff; 8].into();
        let append = UnownedAppend {
            epoch,
            sequence,
            control,
            entry,
            facts: 1,
            status,
            keeps_pause: true,
            deadline,
            related_runs: None,
        };
        let change = AuditedChange { action: "spoil", detail: String::new(), asked: asked(), schedule: None };
        let now = self.world.clock().now();
        let command = Command { run: self.run, now, change, kind: CommandKind::Append(Box::new(append)) };
        self.world.store().command(command).await.unwrap();
    }

    pub(crate) async fn row(&self) -> RunRow {
        self.world.store().run(self.run).await.unwrap().unwrap()
    }

    /// Everything outside of the run is as it should be: its services, its code, and claims come.
    pub(crate) fn calm(&self) {
        self.world.services().calm();
        self.world.services().bring_back();
        self.broken.store(false, Ordering::SeqCst);
    }

    /// Settles a step in doubt.
    pub(crate) fn decision(verdict: Verdict) -> Decision {
        Decision { step: "Charge#1".to_owned(), incarnation: 1, attempt: 1, verdict }
    }

    pub(crate) fn happened() -> Verdict {
        Verdict::Happened(Answer::of("charge", 2).encode_to_vec().into())
    }

    /// How often a put acted and was not taken back.
    pub(crate) fn left_of(&self, text: &str) -> i64 {
        let is_of = |request: &bytes::Bytes| Put::decode(request.clone()).is_ok_and(|put| put.text == text);
        let mut left = 0;
        for ((method, request), identity) in self.world.services().identities() {
            let applied = i64::try_from(identity.applied).unwrap_or(i64::MAX);
            match method.rsplit('/').next() {
                Some("Put") if is_of(&request) => left += applied,
                Some("Cancel") if is_of(&request) => left -= applied,
                _ => {}
            }
        }
        left
    }
}
