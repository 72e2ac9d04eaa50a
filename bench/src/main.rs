//! Measures the orchestrator, and compares it with the limits of the machine: `cargo run --release -p bench -- CASE [--json]`.
//!
//! The load comes from this process over the admin API, as from any client. The orchestrator and the echo service that
//! its workflows call are processes of their own: this binary again, in another role.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod cases;
mod echo;
mod filled;
mod limits;
mod load;
mod orchestrator_role;
mod process;
mod report;
mod sample;
mod workflows;

/// The contracts of the echo service and of what is measured.
mod proto {
    ::transport::include_contracts!();
}

use report::Report;

#[derive(Debug, Parser)]
#[command(
    name = "bench",
    about = "Measures what a run, a step and a commit cost",
    after_help = "Times are for three rounds on two cores. Nothing else should be continuing meanwhile."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    how: How,
}

/// The number of ended runs, for cases that need many.
const ENDED_RUNS: usize = 1_000_000;
/// Runs that are asleep.
const SLEEPERS: usize = 100_000;
/// Schedules in one store.
const SCHEDULES: usize = 100_000;
/// Runs in flight at a kill, and the length of the write-ahead log at the second one.
const IN_FLIGHT_AT_KILL: usize = 10_000;
const LOG_MEGABYTES: u64 = 500;
/// Branches of a wide run.
const BRANCHES: usize = 10_000;

/// How a case is measured.
#[derive(Clone, Debug, Args)]
struct How {
    /// One JSON object per line and figure instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Length of one measurement.
    #[arg(long, global = true, default_value_t = 3)]
    seconds: u64,
    /// Number of measurements; the median is reported.
    #[arg(long, global = true, default_value_t = 3)]
    rounds: usize,
    /// Only this many runs in flight.
    #[arg(long, global = true)]
    in_flight: Vec<usize>,
    /// Where the store lies while it is measured; its disk is what commits cost. The system's folder for temporary
    /// files where none is said.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
}

impl How {
    fn window(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }

    /// The numbers of runs in flight that a case is measured at.
    fn in_flight(&self) -> &[usize] {
        if self.in_flight.is_empty() { &[1, 64, 256, 1_000] } else { &self.in_flight }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs of five IDEMPOTENT calls of 100 bytes. (2 minutes)
    Chain,
    /// Runs of five NO_SIDE_EFFECTS calls of 100 bytes. (2 minutes)
    Reads,
    /// Runs of five IDEMPOTENT steps in process, over a transport that answers from memory. (1 minute)
    Engine,
    /// What the machine allows: calls without an orchestrator, commits without an engine. (1 minute)
    Limits,
    /// What the safety of the store and of the listeners costs: looks at files, what is deleted is written over, bounds of
    /// connections. (1 minute)
    Commit,
    /// Calls through the whole client stack, compared with a bare tonic channel that sends the same metadata. (2 minutes)
    Stack,
    /// `chain` with commits that take 2 ms and 10 ms longer. (3 minutes)
    SlowDisk,
    /// `chain` for long, with the tail of its times.
    Soak {
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Time to SERVING and to the end; memory and processor time idle, and memory with 10,000 runs in flight.
    /// (3 minutes)
    Service {
        /// Runs that are over in the store of one of the measurements.
        #[arg(long, default_value_t = ENDED_RUNS)]
        ended_runs: usize,
    },
    /// `chain`, and pages of runs, in a store with many runs that are over; then while these are removed. (4 minutes)
    History {
        #[arg(long, default_value_t = ENDED_RUNS)]
        ended_runs: usize,
    },
    /// Runs asleep: what they cost, how fast they are accepted, and how they wake. (5 minutes)
    Sleepers {
        #[arg(long, default_value_t = SLEEPERS)]
        sleepers: usize,
    },
    /// Schedules: what they cost while they wait, how late their ticks are, and how many start at the full hour.
    /// (6 minutes)
    Schedules {
        #[arg(long, default_value_t = SCHEDULES)]
        schedules: usize,
    },
    /// What comes after a kill with many calls in flight; then the same with a long write-ahead log. (2 minutes)
    Recovery {
        #[arg(long, default_value_t = IN_FLIGHT_AT_KILL)]
        runs: usize,
        /// Length of that log.
        #[arg(long, default_value_t = LOG_MEGABYTES)]
        log_megabytes: u64,
    },
    /// A run with many keyed branches, compared with as many runs; then killed when half of them are done.
    /// (1 minute)
    #[command(name = "fanout")]
    FanOut {
        #[arg(long, default_value_t = BRANCHES)]
        branches: usize,
    },
    /// Runs on PostgreSQL, of one replica and of three, beside many runs, and after a kill. (20 minutes)
    Postgres(cases::postgres::Size),
    /// Everything but the soak and PostgreSQL.
    All,
    /// A process that a case starts.
    #[command(hide = true)]
    Role {
        role: Role,
        /// Overrides of the orchestrator's configuration.
        #[arg(long)]
        set: Vec<String>,
        /// How long the echo service takes to answer,
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// and how long for an effect.
        #[arg(long, default_value_t = 0)]
        effect_delay_ms: u64,
        /// Answers of effects after which it holds them.
        #[arg(long)]
        hold_after: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Orchestrator,
    Echo,
}

fn main() -> ExitCode {
    let CommandLine { command, how } = CommandLine::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run(command, how)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn run(command: Command, how: How) -> anyhow::Result<()> {
    let mut report = Report::new(how.json);
    match command {
        Command::Role { role: Role::Orchestrator, set, .. } => return orchestrator_role::run(set).await,
        Command::Role { role: Role::Echo, delay_ms, effect_delay_ms, hold_after, .. } => {
            let (delay, effect_delay) = (Duration::from_millis(delay_ms), Duration::from_millis(effect_delay_ms));
            return echo::serve(echo::Manner { delay, effect_delay, hold_after }).await;
        }
        Command::Chain => cases::runs::measure(cases::runs::Case::Chain, &how, &mut report).await?,
        Command::Reads => cases::runs::measure(cases::runs::Case::Reads, &how, &mut report).await?,
        Command::Engine => cases::engine::measure(&how, &mut report).await?,
        Command::Limits => cases::limits::measure(&how, &mut report).await?,
        Command::Commit => cases::commit::measure(&how, &mut report).await?,
        Command::Stack => cases::stack::measure(&how, &mut report).await?,
        Command::SlowDisk => cases::slow_disk::measure(&how, &mut report).await?,
        Command::Soak { minutes } => cases::soak::measure(minutes, &how, &mut report).await?,
        Command::Service { ended_runs } => cases::service::measure(ended_runs, &how, &mut report).await?,
        Command::History { ended_runs } => cases::history::measure(ended_runs, &how, &mut report).await?,
        Command::Sleepers { sleepers } => cases::sleepers::measure(sleepers, &how, &mut report).await?,
        Command::Schedules { schedules } => cases::schedules::measure(schedules, &how, &mut report).await?,
        Command::Recovery { runs, log_megabytes } => {
            cases::recovery::measure(runs, log_megabytes, &how, &mut report).await?;
        }
        Command::FanOut { branches } => cases::fan_out::measure(branches, &how, &mut report).await?,
        Command::Postgres(size) => cases::postgres::measure(&size, &how, &mut report).await?,
        Command::All => {
            cases::limits::measure(&how, &mut report).await?;
            cases::commit::measure(&how, &mut report).await?;
            cases::stack::measure(&how, &mut report).await?;
            cases::engine::measure(&how, &mut report).await?;
            cases::runs::measure(cases::runs::Case::Chain, &how, &mut report).await?;
            cases::runs::measure(cases::runs::Case::Reads, &how, &mut report).await?;
            cases::slow_disk::measure(&how, &mut report).await?;
            cases::service::measure(ENDED_RUNS, &how, &mut report).await?;
            cases::history::measure(ENDED_RUNS, &how, &mut report).await?;
            cases::sleepers::measure(SLEEPERS, &how, &mut report).await?;
            cases::schedules::measure(SCHEDULES, &how, &mut report).await?;
            cases::recovery::measure(IN_FLIGHT_AT_KILL, LOG_MEGABYTES, &how, &mut report).await?;
            cases::fan_out::measure(BRANCHES, &how, &mut report).await?;
        }
    }
    report.end();
    Ok(())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("bench: {error:#}");
    ExitCode::FAILURE
}
