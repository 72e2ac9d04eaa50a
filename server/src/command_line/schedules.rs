//! `orchestrator schedules`: one file for each kind of verb.

use clap::Subcommand;

use super::exit::CommandError;
use super::{Exit, Terminal};

mod backfill;
mod define;
mod list;
mod preview;
mod show;
mod steer;
mod ticks;
mod times;
mod words;

#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    /// List schedules by name.
    List(list::List),
    /// Show a schedule: its next ten times in its own zone, and its last ticks.
    Show(show::Show),
    /// Say the times of a schedule, or of a spec that is not saved.
    Preview(Box<preview::Preview>),
    /// Create a schedule.
    Create(Box<define::Create>),
    /// Change what the flags name of a schedule that was created here.
    Update(Box<define::Update>),
    /// Remove a schedule with its ledger; its runs continue.
    Delete(steer::Steer),
    /// Stop a schedule: its ticks start nothing.
    Pause(steer::Steer),
    /// Let a paused schedule continue with its next tick.
    Resume(steer::Steer),
    /// Start a run of a schedule now.
    Trigger(steer::Trigger),
    /// Start the runs of a range of nominal times.
    Backfill(backfill::Start),
    /// List the backfills of a schedule, and how far they have come.
    Backfills(backfill::List),
    /// Start no more runs of a backfill.
    CancelBackfill(backfill::Cancel),
    /// List what became of each nominal time, and why.
    Ticks(ticks::Ticks),
}

impl Schedules {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        match self {
            Self::List(list) => list.run(terminal).await,
            Self::Show(show) => show.run(terminal).await,
            Self::Preview(preview) => preview.run(terminal).await,
            Self::Create(create) => create.run(terminal).await,
            Self::Update(update) => update.run(terminal).await,
            Self::Delete(steer) => steer.run(steer::Verb::Delete, terminal).await,
            Self::Pause(steer) => steer.run(steer::Verb::Pause, terminal).await,
            Self::Resume(steer) => steer.run(steer::Verb::Resume, terminal).await,
            Self::Trigger(trigger) => return trigger.run(terminal).await,
            Self::Backfill(start) => start.run(terminal).await,
            Self::Backfills(list) => list.run(terminal).await,
            Self::CancelBackfill(cancel) => cancel.run(terminal).await,
            Self::Ticks(ticks) => ticks.run(terminal).await,
        }?;
        Ok(Exit::Ok)
    }
}
