//! `orchestrator store copy`: moves a store from a SQLite file into a PostgreSQL database.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use engine::store::StoreError;
use engine::store::copying::{TABLES, Table};
use engine::store::sqlite::{FencedSource, Source};
use engine::time::Clock;
use postgres_store::{CopyTarget, Reserved};

use crate::command_line::configuration_flags::ConfigurationFlags;
use crate::command_line::exit::CommandError;
use crate::command_line::{Exit, Terminal};
use crate::configuration::StoreKind;

/// How often the progress of one table is printed.
const PROGRESS: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(in crate::command_line) struct Copy {
    /// The SQLite file that is moved. No orchestrator may use it.
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    configuration: ConfigurationFlags,
}

impl Copy {
    pub(super) async fn run(self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let store = self.configuration.load()?.configuration.store;
        if store.kind != StoreKind::Postgres {
            return Err(CommandError::usage(
                "store.kind is `sqlite`; expected a configuration with store.kind `postgres`, whose database the file is copied into",
            ));
        }
        let options = store.database().map_err(|error| CommandError::usage(error.to_string()))?;
        let place = options.place();
        let source = Source::take(&self.from).map_err(|error| CommandError::usage(error.to_string()))?;
        let target = CopyTarget::open(&options).await.map_err(|error| of_target(&place, error))?;
        let reserved =
            target.reserve(source.store(), source.fence()).await.map_err(|error| of_target(&place, error))?;
        if reserved == Reserved::Whole {
            terminal.talk(&format!("{} was copied to {place} before; nothing was done", self.from.display()));
            return Ok(Exit::Ok);
        }
        let source = source.fence_off(&place, &Clock::system()).map_err(of_source)?;
        terminal.talk(&format!("{} cannot be served from now on; it is copied to {place}", self.from.display()));
        target.begin(source.origin()).await.map_err(|error| of_target(&place, error))?;
        let mut copying = Copying { source, target, place, terminal };
        let mut rows = 0;
        for table in TABLES {
            rows += copying.table(table).await?;
        }
        for table in TABLES {
            copying.verify(table).await?;
        }
        let Copying { source, target, place, terminal } = copying;
        target.finish(source.origin()).await.map_err(|error| of_target(&place, error))?;
        terminal.talk(&format!("copied {rows} rows to {place}, and read them back; start the orchestrator on it"));
        Ok(Exit::Ok)
    }
}

/// A copy under way.
struct Copying<'c, 't> {
    source: FencedSource,
    target: CopyTarget,
    place: String,
    terminal: &'c mut Terminal<'t>,
}

impl Copying<'_, '_> {
    /// Copies what is left of a table, and returns how many rows it has.
    async fn table(&mut self, table: &Table) -> Result<u64, CommandError> {
        let all = self.source.count(table).map_err(of_source)?;
        let mut copied = self.target.copied(table).await.map_err(|error| of_target(&self.place, error))?;
        if all > 0 {
            self.terminal.talk(&format!("copying {}: {} of {all} rows", table.name, copied.tally.rows));
        }
        let mut told = Instant::now();
        while !copied.is_done {
            let page = self.source.page(table, &copied.cursor).map_err(of_source)?;
            let written = self.target.write(table, &page, &mut copied).await;
            written.map_err(|error| of_target(&self.place, error))?;
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                self.terminal.talk(&format!("copying {}: {} of {all} rows", table.name, copied.tally.rows));
            }
        }
        if copied.tally.rows != all {
            let found = copied.tally.rows;
            return Err(differs(table, &format!("{found} rows were copied, and the file has {all}")));
        }
        Ok(all)
    }

    /// Reads a table back, and compares count and sum with what was read from the file.
    async fn verify(&mut self, table: &Table) -> Result<(), CommandError> {
        let copied = self.target.copied(table).await.map_err(|error| of_target(&self.place, error))?.tally;
        let mut told = Instant::now();
        let terminal = &mut *self.terminal;
        let so_far = |rows| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                terminal.talk(&format!("reading {} back: {rows} of {} rows", table.name, copied.rows));
            }
        };
        let found = self.target.tally(table, so_far).await.map_err(|error| of_target(&self.place, error))?;
        if found == copied {
            return Ok(());
        }
        let why = format!("the database has {} rows of {}, with another sum", found.rows, copied.rows);
        Err(differs(table, &why))
    }
}

fn of_source(error: StoreError) -> CommandError {
    CommandError::failed(error.to_string())
}

/// A database that is away is worth another try: what was copied stays.
fn of_target(place: &str, error: StoreError) -> CommandError {
    match error {
        StoreError::Unusable(why) => CommandError::failed(format!("{place}: {why}")),
        error => CommandError {
            exit: Exit::Unreachable,
            message: format!("{place}: {error}; the same command continues where this one stopped"),
        },
    }
}

fn differs(table: &Table, why: &str) -> CommandError {
    CommandError::failed(format!(
        "table {}: {why}. The database stays unusable; drop it, create it again and repeat the command",
        table.name
    ))
}
