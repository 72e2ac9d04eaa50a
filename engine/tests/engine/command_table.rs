//! Every command against every state of a run, in every place: one table.

use std::time::Duration;

use engine::decision::Verdict;
use engine::engine::EngineError;
use engine::store::{ListAudit, RunRow, Store as _};
use engine::testing::World;
use engine::{Code, Failure, State};
use prost::Message as _;
use uuid::Uuid;

use crate::common::{Answer, Put};
use situations::{Place, Steerable, asked, pass};

mod situations;

/// A row is a situation, and the places to which it applies: in **M**emory of this replica, only in the **S**tore, **C**laimed
/// with the answer on its way, or after a **R**estart. A cell says whether the command is taken (`+`), is refused (`-`), or
/// finds a journal that cannot be read (`!`), and where the run rests two thousand seconds later: **S**UCCEEDED, **F**AILED,
/// **C**ANCELLED, **T**ERMINATED, **P**AUSED, **B**LOCKED, NEEDS_**D**ECISION, or deleted (**X**). What is after the cells says
/// why a row is as it is.
const GOING_ON: &str = "
                              |      | nothing cancel pause stop resume signal happened failed again skip retry from terminate pin unpin delete
PENDING                       | SCR  | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S |
RUNNING                       | MR   | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S |
RUNNING, to be paused         | MR   | P +C +P +P +S +P -P -P -P -P -P -P +T +P +P -P | it is paused once its call has settled
WAITING for a time            | MSCR | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S |
WAITING for a signal          | MSCR | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S |
WAITING for a child           | MSCR | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S |
BACKING_OFF                   | MSR  | S +C +P +P -S +S -S -S -S +S -S -S +T +S +S -S |
BACKING_OFF                   | C    | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S | it is claimed because its time has come
BACKING_OFF after a panic     | SCR  | S +C +P +P -S +S -S -S -S +S -S -S +T +S +S -S |
BACKING_OFF, service down     | SCR  | S +C +P +P -S +S -S -S -S -S -S -S +T +S +S -S | it waits for the service, not for a time
";

const STOPPED: &str = "
                              |      | nothing cancel pause stop resume signal happened failed again skip retry from terminate pin unpin delete
PAUSED                        | SR   | P +C +P +P +S +P -P -P -P -P -P -P +T +P +P -P |
PAUSED, clock stopped         | SR   | P +C +P +P +S +P -P -P -P -P -P -P +T +P +P -P |
PAUSED with a step in doubt   | SR   | P +D +P +P +D +P +P +P +P -P -P -P +T +P +P -P | a decision leaves it paused
NEEDS_DECISION                | SR   | D +D -D -D -D +D +S +F +S -D -D -D +T +D +D -D | no run ends with a step in doubt (S2)
NEEDS_DECISION, one in flight | MR   | D +D +P +P -D +D +S +F +S -D -D -D +T +D +D -D | its row says RUNNING until that has settled
NEEDS_DECISION, ending        | MSR  | D +D -D -D -D -D +C +C +C -D -D -D +T +D +D -D |
BLOCKED, JOURNAL_MISMATCH     | SR   | B +C -B -B -B +B -B -B -B -B +S +S +T +B +B -B |
BLOCKED, SIGNAL_UNDECLARED    | S    | B +C -B -B -B +B -B -B -B -B +S +S +T +B +B -B |
BLOCKED, SIGNAL_UNDECLARED    | M    | B +C -B -B -B +B -B -B -B -B -B -B +T +B +B -B | it is retried once its call has settled
BLOCKED, SIGNAL_UNDECLARED    | R    | B +C -B -B -B +B -B -B -B -B +S -B +T +B +B -B | its call was cut off, and may have happened (S7)
BLOCKED, POISON               | SR   | B +C -B -B -B +B -B -B -B -B +S +S +T +B +B -B |
BLOCKED, JOURNAL_UNREADABLE   | SR   | B +B -B -B -B +B !B !B !B !B !B !B +T +B +B -B | only force ends what cannot be settled (S2)
BLOCKED, UNDO_FAILED          | SR   | B +B -B -B -B -B -B -B -B -B +F -B +T +B +B -B | the end that it goes to stands
";

const ENDING: &str = "
                              |      | nothing cancel pause stop resume signal happened failed again skip retry from terminate pin unpin delete
ENDING, in flight             | MR   | C +C -C -C -C -C -C -C -C -C -C -C +T +C +C -C |
ENDING, undoing               | MSR  | F +F -F -F -F -F -F -F -F +F -F -F +T +F +F -F | the end that it goes to stands
ENDING, undoing               | C    | F +F -F -F -F -F -F -F -F -F -F -F +T +F +F -F | it is claimed because its time has come
ENDING, paused before         | MSR  | F +F -F -F -F -F -F -F -F +F -F -F +T +F +F -F | its deadline has ended the pause
ENDING, paused before         | C    | F +F -F -F -F -F -F -F -F -F -F -F +T +F +F -F | the same
ENDING, waiting for a child   | MSCR | S +S -S -S -S -S -S -S -S -S -S -S +T +S +S -S | what it has decided stands
SUCCEEDED                     | SR   | S -S -S -S -S -S -S -S -S -S -S -S -S +S +S +X |
FAILED at a step              | SR   | F -F -F -F -F -F -F -F -F -F +S +S -F +F +F +X |
FAILED by its code            | SR   | F -F -F -F -F -F -F -F -F -F -F +S -F +F +F +X |
CANCELLED                     | SR   | C +C -C -C -C -C -C -C -C -C -C -C -C +C +C +X | the same wish again
TERMINATED                    | SR   | T -T -T -T -T -T -T -T -T -T -T -T -T +T +T +X |
";

/// The first command is that of the row, the second that of the column. A cell has the answers of both.
const PAIRS_GOING_ON: &str = "
                                          |      | cancel pause resume signal happened skip retry terminate delete
RUNNING + cancel                          | MR   | ++C +-C +-C ++C +-C +-C +-C ++T +-C |
RUNNING + pause                           | MR   | ++C ++P ++S ++P +-P +-P +-P ++T +-P |
RUNNING + signal                          | MR   | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
RUNNING + terminate                       | MR   | +-T +-T +-T +-T +-T +-T +-T +-T ++X |
WAITING for a time + cancel               | MSCR | ++C +-C +-C ++C +-C +-C +-C ++T +-C |
WAITING for a time + pause                | MSCR | ++C ++P ++S ++P +-P +-P +-P ++T +-P |
WAITING for a time + signal               | MSCR | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
WAITING for a time + terminate            | MSCR | +-T +-T +-T +-T +-T +-T +-T +-T ++X |
BACKING_OFF + cancel                      | MSCR | ++C +-C +-C ++C +-C +-C +-C ++T +-C |
BACKING_OFF + pause                       | MSCR | ++C ++P ++S ++P +-P +-P +-P ++T +-P |
BACKING_OFF after a panic + cancel        | SCR  | ++C +-C +-C ++C +-C +-C +-C ++T +-C |
BACKING_OFF after a panic + pause         | SCR  | ++C ++P ++S ++P +-P +-P +-P ++T +-P |
";

const PAIRS_STOPPED: &str = "
                                          |      | cancel pause resume signal happened skip retry terminate delete
PAUSED + cancel                           | SR   | ++C +-C +-C ++C +-C +-C +-C ++T +-C |
PAUSED + resume                           | SR   | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
PAUSED + terminate                        | SR   | +-T +-T +-T +-T +-T +-T +-T +-T ++X |
NEEDS_DECISION + cancel                   | SR   | ++D +-D +-D ++D ++C +-D +-D ++T +-D |
NEEDS_DECISION + happened                 | SR   | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
NEEDS_DECISION + terminate                | SR   | +-T +-T +-T +-T +-T +-T +-T +-T ++X |
NEEDS_DECISION, one in flight + cancel    | MR   | ++D +-D +-D ++D ++C +-D +-D ++T +-D |
NEEDS_DECISION, one in flight + pause     | MR   | ++D ++P ++D ++P ++P +-P +-P ++T +-P |
NEEDS_DECISION, one in flight + happened  | M    | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
BLOCKED, POISON + cancel                  | SR   | ++C +-C +-C ++C +-C +-C ++C ++T +-C |
BLOCKED, POISON + retry                   | SR   | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
BLOCKED, POISON + terminate               | SR   | +-T +-T +-T +-T +-T +-T +-T +-T ++X |
BLOCKED, UNDO_FAILED + cancel             | SR   | ++B +-B +-B +-B +-B +-B ++F ++T +-B |
BLOCKED, UNDO_FAILED + retry              | SR   | ++F +-F +-F +-F +-F +-F +-F ++T +-F |
FAILED at a step + retry                  | SR   | ++C ++P +-S ++S +-S +-S +-S ++T +-S |
FAILED at a step + delete                 | SR   | +-X +-X +-X +-X +-X +-X +-X +-X +-X |
";

/// A command, and the method that its audit entry names.
const COMMANDS: [(&str, &str); 15] = [
    ("cancel", "CancelRun"),
    ("pause", "PauseRun"),
    ("stop", "PauseRun"),
    ("resume", "ResumeRun"),
    ("signal", "SignalRun"),
    ("happened", "ResolveStep"),
    ("failed", "ResolveStep"),
    ("again", "ResolveStep"),
    ("skip", "SkipBackOff"),
    ("retry", "RetryRun"),
    ("from", "RetryRun"),
    ("terminate", "TerminateRun"),
    ("pin", "PinRun"),
    ("unpin", "UnpinRun"),
    ("delete", "DeleteRun"),
];

const PLACES: [(char, Place); 4] =
    [('M', Place::Memory), ('S', Place::Store), ('C', Place::Claimed), ('R', Place::Restarted)];

async fn give(world: &World, run: Uuid, command: &str) -> Result<Option<RunRow>, EngineError> {
    let engine = world.engine();
    let resolve = |verdict| engine.resolve(run, Steerable::decision(verdict), asked());
    match command {
        "cancel" => engine.cancel(run, asked()).await,
        "pause" => engine.pause(run, false, asked()).await,
        "stop" => engine.pause(run, true, asked()).await,
        "resume" => engine.resume(run, asked()).await,
        "signal" => engine.signal(run, "note", Answer::of("hello", 0).encode_to_vec().into(), asked()).await,
        "happened" => resolve(Steerable::happened()).await,
        "failed" => resolve(Verdict::Failed(Failure::new(Code::Aborted, "it is not in the ledger"))).await,
        "again" => resolve(Verdict::AskAgain).await,
        "skip" => engine.skip_back_off(run, None, asked()).await,
        "retry" => engine.retry(run, asked()).await,
        "from" => engine.retry_from(run, "Put#0", asked()).await,
        "terminate" => engine.terminate(run, asked()).await,
        "pin" => engine.pin(run, true, asked()).await,
        "unpin" => engine.pin(run, false, asked()).await,
        "delete" => return engine.delete(run, asked()).await.map(|()| None),
        other => panic!("{other} is not among the commands"),
    }
    .map(Some)
}

/// Gives a command while claims are held back; those that wait for the run have their answer once claims come.
async fn given(here: &Steerable, command: &'static str) -> Result<Option<RunRow>, EngineError> {
    let giving = give(&here.world, here.run, command);
    tokio::pin!(giving);
    match tokio::time::timeout(Duration::from_millis(500), &mut giving).await {
        Ok(answer) => answer,
        Err(_waits) => {
            here.world.let_claims_come();
            giving.await
        }
    }
}

/// What a run is right after a command was acknowledged.
fn check_acknowledged(at: &str, command: &str, before: &RunRow, row: &RunRow) {
    let state = row.status.state;
    let holds = match command {
        "cancel" => row.cancel_requested.is_some() || state == State::Cancelled,
        "pause" | "stop" => row.paused.is_some() && (row.owned || state == State::Paused),
        "resume" => row.paused.is_none() && (row.owned || state != State::Paused),
        "signal" => row.messages == before.messages + 1,
        "happened" | "failed" | "again" => row.sequence > before.sequence,
        "skip" | "retry" | "from" => !matches!(state, State::Blocked | State::Paused) && !state.is_end(),
        "terminate" => state == State::Terminated && !row.owned,
        "pin" => row.pinned,
        "unpin" => !row.pinned,
        other => panic!("{other} is not among the commands"),
    };
    assert!(holds, "{at}: right after it, the run is {row:?}");
}

/// Where a run rests, as the table has it.
fn letter(state: State) -> &'static str {
    match state {
        State::Succeeded => "S",
        State::Failed => "F",
        State::Cancelled => "C",
        State::Terminated => "T",
        State::Paused => "P",
        State::Blocked => "B",
        State::NeedsDecision => "D",
        other => other.name(),
    }
}

/// What must hold of the effects of a run that rests.
async fn check_effects(at: &str, here: &Steerable, made_again: bool) {
    let state = here.row().await.status.state;
    let (first, last) = (here.left_of("first"), here.left_of("last"));
    let journal = || async { here.world.journal(here.run).await };
    match state {
        State::Succeeded => {
            let careless = at.contains("child") && last == 0;
            // What a retry from a step makes again is another effect.
            let firsts = 1 + i64::from(made_again);
            assert!((first, last) == (firsts, 1) || careless, "{at}: {first} first, {last} last\n{}", journal().await);
        }
        State::Failed | State::Cancelled => {
            let second = here.left_of("second");
            assert_eq!((first, second, last), (0, 0, 0), "{at}: first, second, last\n{}", journal().await);
        }
        // What was sent may have acted.
        _ => assert_eq!(last, 0, "{at}"),
    }
    for ((method, request), identity) in here.world.services().identities() {
        let text = Put::decode(request).unwrap().text;
        assert!(identity.applied <= identity.keys.len(), "{at}: {method} {text} acted {} times", identity.applied);
    }
}

/// A run that rests although it has not ended is brought to its end.
async fn bring_to_end(at: &str, here: &Steerable, made_again: bool) {
    for _ in 0..6 {
        let row = here.row().await;
        let command = match row.status.state {
            State::Paused => "resume",
            State::Blocked if row.status.reason.starts_with("JOURNAL_UNREADABLE") => "terminate",
            State::Blocked => "retry",
            State::NeedsDecision => "happened",
            state if state.is_end() => return check_effects(at, here, made_again).await,
            state => panic!("{at}: the run rests {state}, {:?}", row.status),
        };
        let answer = give(&here.world, here.run, command).await;
        assert!(answer.is_ok(), "{at}: {command} afterwards: {answer:?}");
        pass(2_000).await;
    }
    panic!("{at}: the run does not end: {:?}", here.row().await.status);
}

/// What becomes of a run to which commands are given one after the other, with nothing in between: for each whether it is
/// taken, and where the run rests.
async fn outcome(situation: String, place: Place, commands: Vec<&'static str>) -> String {
    let here = Steerable::of(&situation, place).await;
    let at = format!("{commands:?} of {situation} in {place:?}");
    let (mut taken, mut made_again, mut deleted) = (String::new(), false, false);
    for command in commands {
        let method = COMMANDS.iter().find(|(known, _)| *known == command).unwrap().1;
        let entries = || async {
            let filter = ListAudit::of_run(here.run, 100);
            let entries = here.world.store().audit(filter).await.unwrap();
            entries.iter().filter(|entry| entry.action == method).count()
        };
        let (before, known) = (here.world.store().run(here.run).await.unwrap(), entries().await);
        let answer = given(&here, command).await;
        here.calm();
        let new = entries().await - known;
        match &answer {
            Ok(None) => {
                assert_eq!((new, here.world.store().run(here.run).await.unwrap()), (1, None), "{at}");
                taken.push('+');
                deleted = true;
            }
            Ok(Some(row)) => {
                assert_eq!(new, 1, "{at}: audit entries");
                let before = before.unwrap();
                check_acknowledged(&at, command, &before, row);
                taken.push('+');
                made_again |= command == "from" && !before.status.state.is_end();
            }
            Err(EngineError::Precondition { reason, .. }) => {
                assert_eq!(new, 0, "{at}: audit entries of what was refused because {reason}");
                taken.push('-');
            }
            Err(EngineError::NotFound(_)) if deleted => taken.push('-'),
            Err(EngineError::Journal { .. }) => {
                assert_eq!(new, 0, "{at}: audit entries of what was refused");
                taken.push('!');
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
    if deleted {
        return taken + "X";
    }
    here.calm();
    here.world.let_claims_come();
    pass(2_000).await;
    let rests = letter(here.row().await.status.state);
    check_effects(&at, &here, made_again).await;
    if taken.contains('+') {
        bring_to_end(&at, &here, made_again).await;
    }
    taken + rests
}

/// Tries every cell of a table.
async fn check(table: &str) {
    let mut lines = table.lines().filter(|line| !line.trim().is_empty());
    let heads: Vec<&str> = lines.next().unwrap().split('|').nth(2).unwrap().split_whitespace().collect();
    let mut wrong = Vec::new();
    for line in lines {
        let mut parts = line.split('|').map(str::trim);
        let (at, places, cells) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let (situation, first) = at.split_once(" + ").unwrap_or((at, ""));
        let cells: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), heads.len(), "{line}");
        for place in places.chars() {
            let (_, place) = PLACES.into_iter().find(|(name, _)| *name == place).unwrap();
            let mut found = Vec::new();
            for head in &heads {
                let named = |name: &str| COMMANDS.into_iter().map(|(command, _)| command).find(|known| *known == name);
                let commands = [named(first), named(head)].into_iter().flatten();
                let run = tokio::spawn(outcome(situation.to_owned(), place, commands.collect()));
                // What else is wrong shall be seen as well.
                found.push(run.await.unwrap_or_else(|_panicked| "broken".to_owned()));
            }
            if found != cells {
                wrong.push(format!("{at} | {place:?} | {}", found.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "these rows are otherwise:\n{}", wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn every_command_to_a_run_that_goes_on_does_what_the_table_says_wherever_the_run_is() {
    check(GOING_ON).await;
}

#[tokio::test(start_paused = true)]
async fn every_command_to_a_run_that_is_stopped_does_what_the_table_says_wherever_the_run_is() {
    check(STOPPED).await;
}

#[tokio::test(start_paused = true)]
async fn every_command_to_a_run_that_ends_does_what_the_table_says_wherever_the_run_is() {
    check(ENDING).await;
}

#[tokio::test(start_paused = true)]
async fn two_commands_in_a_row_to_a_run_that_goes_on_do_what_the_table_says_wherever_the_run_is() {
    check(PAIRS_GOING_ON).await;
}

#[tokio::test(start_paused = true)]
async fn two_commands_in_a_row_to_a_run_that_is_stopped_do_what_the_table_says_wherever_the_run_is() {
    check(PAIRS_STOPPED).await;
}
