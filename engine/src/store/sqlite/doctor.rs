//! A look at a store in a file for what slows or endangers it. Takes no lock and writes nothing; an orchestrator may use it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::files::visit;
use super::migrations::{self, VERSION};
use super::paths::{beside, resolve, unusable};
use super::{log, rows};
use crate::retention::Retention;
use crate::state::State;
use crate::store::StoreError;
use crate::store::doctor::{Examination, Figure, Finding, Severity, bytes};
use crate::time::Timestamp;

/// A log of so many times the length at which readers are held off has a reader that is not ours.
const LOG_FACTOR: u64 = 4;
/// Less free space than this stops the orchestrator soon.
const LEAST_SPACE: u64 = 256 << 20;
/// Free pages below this are not worth a word.
const MUCH_UNUSED: u64 = 64 << 20;
/// The clock may differ by this much from that of the last owner.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);
/// Retention is behind if a run should have been removed for longer than this.
const RETENTION_MARGIN: Duration = Duration::from_secs(24 * 3_600);
/// So many ended runs that are kept for ever are worth a word.
const MANY_RUNS: u64 = 1_000_000;
/// How many faults of the file are named.
const FAULTS: i64 = 10;

/// What to look at beside the file.
#[derive(Clone, Debug)]
pub struct Examine {
    /// The time now.
    pub now: Timestamp,
    /// How long runs are to be kept.
    pub retention: Retention,
    /// Whether every page of the file is read. Takes about a second for each GiB, and the log grows meanwhile.
    pub integrity: bool,
}

/// Looks at the store in this file.
///
/// # Errors
/// [`StoreError::Unusable`] if it is no store, was made by a newer release, or is so damaged that it cannot be read.
pub fn examine(path: &Path, wish: &Examine) -> Result<Examination, StoreError> {
    let path = resolve(path)?;
    let failed = |error: &dyn std::fmt::Display| unusable(&path, error);
    let file = std::fs::metadata(&path).map_err(|error| failed(&error))?;
    let log_bytes = std::fs::metadata(beside(&path, "-wal")).map_or(0, |log| log.len());
    let space = rustix::fs::statvfs(&path).map_err(|error| failed(&error))?;
    let mut connection = visit(&path)?;
    let (stored, faults) = read(&mut connection, wish).map_err(|error| failed(&error))?;
    let facts = Facts {
        file_bytes: file.len(),
        log_bytes,
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        mode: file.mode() & 0o777,
        faults,
        stored,
    };
    Ok(Examination { figures: facts.figures(wish), findings: facts.findings(wish) })
}

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    file_bytes: u64,
    log_bytes: u64,
    /// What this user can still write to the volume.
    free_bytes: u64,
    /// Who may read and write the file.
    mode: u32,
    /// None if the pages were not read.
    faults: Option<Vec<String>>,
    stored: Stored,
}

/// What the database says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stored {
    schema: usize,
    /// Bytes of pages that have nothing.
    unused_bytes: u64,
    /// The last owner's clock, the last time that it wrote it down.
    seen_at: Option<Timestamp>,
    /// By state.
    runs: Vec<(State, u64)>,
    /// Workflow and state of ended runs, with the end of the oldest that is not pinned.
    oldest: Vec<(String, State, Timestamp)>,
}

fn read(connection: &mut Connection, wish: &Examine) -> rusqlite::Result<(Stored, Option<Vec<String>>)> {
    // One snapshot, which ends before the pages are read.
    let transaction = connection.transaction()?;
    let pragma = |name| migrations::pragma::<i64>(&transaction, name);
    let (page, unused) = (pragma("page_size")?.unsigned_abs(), pragma("freelist_count")?.unsigned_abs());
    let schema = usize::try_from(pragma("user_version")?).unwrap_or_default();
    let seen_at = if schema < SEEN_SINCE { None } else { seen_at(&transaction)? };
    let mut stored = Stored { schema, unused_bytes: unused * page, seen_at, ..Stored::default() };
    let workflows: Vec<(i64, String)> = transaction
        .prepare("SELECT id, name FROM workflows ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for state in State::ALL {
        let mut count = 0;
        for (workflow, name) in &workflows {
            count += transaction
                .prepare_cached(
                    "SELECT count(*) FROM runs INDEXED BY runs_by_state WHERE workflow = ?1 AND state = ?2",
                )?
                .query_row(params![workflow, state as u8], |row| rows::count(row, 0))?;
            if state.is_end()
                && let Some(ended_at) = oldest(&transaction, *workflow, state, schema)?
            {
                stored.oldest.push((name.clone(), state, ended_at));
            }
        }
        if count > 0 {
            stored.runs.push((state, count));
        }
    }
    transaction.finish()?;
    let faults = if wish.integrity { Some(faults(connection)?) } else { None };
    Ok((stored, faults))
}

/// The first schema in which an owner writes its clock down.
const SEEN_SINCE: usize = 7;
/// The first schema in which runs can be pinned.
const PINNED_SINCE: usize = 5;

fn seen_at(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    connection.query_row("SELECT seen_at FROM store", [], |row| row.get(0).map(Timestamp::from_micros)).optional()
}

fn oldest(connection: &Connection, workflow: i64, state: State, schema: usize) -> rusqlite::Result<Option<Timestamp>> {
    let statement = if schema < PINNED_SINCE {
        "SELECT ended_at FROM runs INDEXED BY runs_by_state WHERE workflow = ?1 AND state = ?2 ORDER BY id LIMIT 1"
    } else {
        "SELECT ended_at FROM runs INDEXED BY runs_by_state
         WHERE workflow = ?1 AND state = ?2 AND pinned = 0 ORDER BY id LIMIT 1"
    };
    let mut statement = connection.prepare_cached(statement)?;
    let found = statement.query_row(params![workflow, state as u8], |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(found.flatten().map(Timestamp::from_micros))
}

fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA quick_check({FAULTS})"))?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|fault| fault != "ok").collect())
}

impl Facts {
    fn figures(&self, wish: &Examine) -> Vec<Figure> {
        let figure = |name, value| Figure { name, value };
        let mut figures = vec![
            figure("database", bytes(self.file_bytes)),
            figure("write-ahead log", bytes(self.log_bytes)),
            figure("unused pages", bytes(self.stored.unused_bytes)),
            figure("free space", bytes(self.free_bytes)),
            figure("schema", format!("{} of {VERSION}", self.stored.schema)),
            figure("pages", if wish.integrity { "all read" } else { "not read (--integrity)" }.to_owned()),
        ];
        let runs: Vec<String> = self.stored.runs.iter().map(|(state, runs)| format!("{runs} {state}")).collect();
        figures.push(figure("runs", if runs.is_empty() { "none".to_owned() } else { runs.join(", ") }));
        figures
    }

    fn findings(&self, wish: &Examine) -> Vec<Finding> {
        let mut findings: Vec<Finding> = [
            self.damage(),
            self.space(),
            self.log(),
            self.clock(wish),
            self.readable_by_others(),
            self.unused(),
            self.older_schema(),
            self.kept_for_ever(wish),
        ]
        .into_iter()
        .flatten()
        .collect();
        findings.extend(self.retention(wish));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    fn damage(&self) -> Option<Finding> {
        let faults = self.faults.as_ref().filter(|faults| !faults.is_empty())?;
        Some(Finding {
            severity: Severity::Danger,
            kind: "DAMAGED",
            says: format!("the file is damaged: {}", faults.join("; ")),
            remedy: "stop the orchestrator, keep the file, and restore a backup with --adopt".to_owned(),
        })
    }

    fn space(&self) -> Option<Finding> {
        let severity = match self.free_bytes {
            free if free < LEAST_SPACE => Severity::Danger,
            free if free < self.file_bytes / 5 => Severity::Warning,
            _ => return None,
        };
        let says = format!("the volume has {} left, the store has {}", bytes(self.free_bytes), bytes(self.file_bytes));
        let remedy = "enlarge the volume, or shorten retention: without space the orchestrator is not ready, and stops";
        Some(Finding { severity, kind: "LITTLE_SPACE", says, remedy: remedy.to_owned() })
    }

    fn log(&self) -> Option<Finding> {
        (self.log_bytes > LOG_FACTOR * log::LONG).then(|| Finding {
            severity: Severity::Warning,
            kind: "LONG_LOG",
            says: format!(
                "the write-ahead log has {}, and should stay below {}: another program reads an old snapshot, or the disk \
                 does not keep up",
                bytes(self.log_bytes),
                bytes(log::LONG)
            ),
            remedy: "end programs that have the file open for long, such as a SQLite shell or a backup that hangs".to_owned(),
        })
    }

    fn clock(&self, wish: &Examine) -> Option<Finding> {
        let seen_at = self.stored.seen_at.filter(|seen_at| *seen_at > wish.now.after(CLOCK_MARGIN))?;
        let ahead = seen_at.since(wish.now).as_secs();
        Some(Finding {
            severity: Severity::Warning,
            kind: "CLOCK_BEHIND",
            says: format!("the clock of this machine is {ahead} s behind that of the store's last owner"),
            remedy: "set the clock before the orchestrator starts: schedules and keys of effects live by it".to_owned(),
        })
    }

    fn readable_by_others(&self) -> Option<Finding> {
        (self.mode & 0o077 != 0).then(|| Finding {
            severity: Severity::Warning,
            kind: "READABLE_BY_OTHERS",
            says: format!("other users may open the file (mode {:04o}), which may have personal data", self.mode),
            remedy: "chmod 600 the file, and what lies beside it".to_owned(),
        })
    }

    fn unused(&self) -> Option<Finding> {
        let unused = self.stored.unused_bytes;
        (unused > MUCH_UNUSED && unused > self.file_bytes / 2).then(|| Finding {
            severity: Severity::Note,
            kind: "UNUSED_PAGES",
            says: format!(
                "{} of {} have nothing in them; new runs use them first",
                bytes(unused),
                bytes(self.file_bytes)
            ),
            remedy:
                "to have the space back, stop the orchestrator, back the store up, and start with the copy and --adopt"
                    .to_owned(),
        })
    }

    fn older_schema(&self) -> Option<Finding> {
        (self.stored.schema < VERSION).then(|| Finding {
            severity: Severity::Note,
            kind: "OLDER_SCHEMA",
            says: format!("its schema is {}, this program brings it to {VERSION} as it starts", self.stored.schema),
            remedy: "back it up first: the release before does not open it afterwards".to_owned(),
        })
    }

    fn kept_for_ever(&self, wish: &Examine) -> Option<Finding> {
        let ended: u64 = self.stored.runs.iter().filter(|(state, _)| state.is_end()).map(|(_, runs)| runs).sum();
        let kept = |(workflow, state, _): &&(String, State, Timestamp)| wish.retention.of(workflow, *state).is_none();
        let (workflow, state, _) = self.stored.oldest.iter().find(kept).filter(|_| ended >= MANY_RUNS)?;
        Some(Finding {
            severity: Severity::Note,
            kind: "KEPT_FOR_EVER",
            says: format!("{ended} runs have ended, and some are kept for ever, such as {state} ones of {workflow}"),
            remedy: "set retention for them if they need not be kept".to_owned(),
        })
    }

    /// For each workflow whose oldest ended run should be gone.
    fn retention(&self, wish: &Examine) -> Vec<Finding> {
        let late = |(workflow, state, ended_at): &(String, State, Timestamp)| {
            let gone_at = ended_at.after(wish.retention.of(workflow, *state)?);
            let late = wish.now.since(gone_at);
            (late > RETENTION_MARGIN).then(|| Finding {
                severity: Severity::Warning,
                kind: "RETENTION_BEHIND",
                says: format!("a {state} run of {workflow} should have been removed {} h ago", late.as_secs() / 3_600),
                remedy: "see that an orchestrator runs on this store; its log says if removing runs fails".to_owned(),
            })
        };
        self.stored.oldest.iter().filter_map(late).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::Kept;
    use crate::store::Store as _;
    use crate::store::sqlite::{Sqlite, SqliteOptions};
    use crate::time::Clock;

    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const GIB: u64 = 1 << 30;

    fn wish() -> Examine {
        let kept = Kept { succeeded: Some(DAY), ..Kept::default() };
        let retention = Retention { runs: kept, ..Retention::default() };
        Examine { now: Timestamp::from_micros(1_700_000_000_000_000), retention, integrity: false }
    }

    fn healthy() -> Facts {
        let stored = Stored { schema: VERSION, ..Stored::default() };
        Facts { file_bytes: GIB, free_bytes: 10 * GIB, mode: 0o600, stored, ..Facts::default() }
    }

    fn found(facts: &Facts) -> Vec<(Severity, &'static str)> {
        facts.findings(&wish()).into_iter().map(|finding| (finding.severity, finding.kind)).collect()
    }

    #[test]
    fn each_trouble_is_found_alone_and_a_healthy_store_has_none() {
        use Severity::{Danger, Note, Warning};
        let now = wish().now;
        let stored = |change: fn(&mut Stored, Timestamp)| {
            let mut facts = healthy();
            change(&mut facts.stored, now);
            facts
        };
        let ended = |days: u32| move |state| ("w".to_owned(), state, now.before(DAY * days));
        let with_ended = |days, state| Facts {
            stored: Stored { oldest: vec![ended(days)(state)], ..healthy().stored },
            ..healthy()
        };
        let cases = [
            (healthy(), vec![]),
            (Facts { faults: Some(vec![]), ..healthy() }, vec![]),
            (Facts { faults: Some(vec!["row 7 missing".to_owned()]), ..healthy() }, vec![(Danger, "DAMAGED")]),
            (Facts { free_bytes: GIB / 8, ..healthy() }, vec![(Danger, "LITTLE_SPACE")]),
            (Facts { file_bytes: 10 * GIB, free_bytes: GIB, ..healthy() }, vec![(Warning, "LITTLE_SPACE")]),
            (Facts { log_bytes: log::LONG, ..healthy() }, vec![]),
            (Facts { log_bytes: 5 * log::LONG, ..healthy() }, vec![(Warning, "LONG_LOG")]),
            (Facts { mode: 0o640, ..healthy() }, vec![(Warning, "READABLE_BY_OTHERS")]),
            (stored(|stored, _| stored.unused_bytes = GIB * 3 / 4), vec![(Note, "UNUSED_PAGES")]),
            (stored(|stored, _| stored.schema -= 1), vec![(Note, "OLDER_SCHEMA")]),
            (stored(|stored, now| stored.seen_at = Some(now.after(DAY))), vec![(Warning, "CLOCK_BEHIND")]),
            (stored(|stored, now| stored.seen_at = Some(now)), vec![]),
            (with_ended(1, State::Succeeded), vec![]),
            (with_ended(3, State::Succeeded), vec![(Warning, "RETENTION_BEHIND")]),
            (with_ended(3, State::Failed), vec![]),
        ];
        for (facts, expected) in cases {
            assert_eq!(found(&facts), expected, "{facts:?}");
        }
        let mut many = with_ended(3, State::Failed);
        many.stored.runs = vec![(State::Failed, MANY_RUNS)];
        assert_eq!(found(&many), [(Note, "KEPT_FOR_EVER")]);
    }

    #[test]
    fn the_most_urgent_finding_comes_first() {
        let facts = Facts { mode: 0o644, free_bytes: 0, ..healthy() };
        assert_eq!(found(&facts), [(Severity::Danger, "LITTLE_SPACE"), (Severity::Warning, "READABLE_BY_OTHERS")]);
    }

    #[test]
    fn a_store_in_use_is_examined_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let owner = Sqlite::open(&path, SqliteOptions::default(), Clock::system()).unwrap();
        let wish = Examine { now: Clock::system().now(), integrity: true, ..wish() };
        let examined = examine(&path, &wish).unwrap();
        let figure = |name| examined.figures.iter().find(|figure| figure.name == name).unwrap().value.clone();
        assert_eq!((figure("runs"), figure("pages")), ("none".to_owned(), "all read".to_owned()));
        assert!(examined.findings.iter().all(|finding| finding.kind == "LITTLE_SPACE"), "{examined:?}");
        drop(owner);
        let again = Sqlite::open(&path, SqliteOptions::default(), Clock::system()).unwrap();
        let listed = futures_util::FutureExt::now_or_never(again.workflows());
        assert!(!matches!(listed, Some(Err(_))));
    }

    #[test]
    fn a_file_whose_pages_are_damaged_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(Sqlite::open(&path, SqliteOptions::default(), Clock::system()).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        // The last page belongs to a table or an index of ours; its header says what kind it is.
        let last = bytes.len() - 4_096;
        bytes[last..last + 64].fill(0xFF);
        std::fs::write(&path, bytes).unwrap();
        let wish = Examine { integrity: true, ..wish() };
        match examine(&path, &wish) {
            Ok(examined) => assert_eq!(examined.findings[0].kind, "DAMAGED", "{examined:?}"),
            Err(StoreError::Unusable(why)) => assert!(why.contains("malformed"), "{why}"),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_no_store_is_not_examined() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        assert!(matches!(examine(&path, &wish()), Err(StoreError::Unusable(_))));
        assert!(!path.exists());
    }
}
