//! What the facts mean for the store, and what a person does about it.

use std::time::Duration;

use engine::retention::Retention;
use engine::store::doctor::{Finding, Severity, bytes};

use super::facts::{Facts, IndexFacts, Prepared, Slot, Snapshot, TableFacts};
use crate::durability;
use crate::migrations::VERSION;

/// A transaction that is open for longer than this keeps dead rows from being removed.
const OLD: i64 = 300;
/// So many dead rows, and more than there are others, are more than autovacuum leaves.
const MANY_DEAD: u64 = 50_000;
/// An index that has more bytes than this for each row, and more than that in all, is mostly empty.
const WIDE: u64 = 400;
const LARGE: u64 = 64 << 20;
/// A table of runs that has more bytes than this for each is mostly empty.
const WIDE_ROW: u64 = 8 << 10;
/// A slot that keeps more log than this endangers the disk.
const MUCH_LOG: u64 = 1 << 30;
/// A slot or a session that holds back more transactions than this slows every read.
const MANY_TRANSACTIONS: i64 = 1_000_000;
/// The server stops to take writes some time after 2 billion.
const NEAR_WRAPAROUND: i64 = 1_000_000_000;
/// Below this share of updates in place, indexes grow with every append.
const FEW_IN_PLACE: u64 = 90;
/// From so many updates on the share says something.
const SOME_UPDATES: u64 = 100_000;
/// The clocks may differ by this much.
const CLOCK_MARGIN: i64 = 60_000_000;
/// The database's clock may move against this machine's by this much within a second.
const LEAP: i64 = 500_000;
/// No lease is longer than this.
const LONGEST_LEASE: Duration = Duration::from_secs(300 + 60);
/// Runs of a replica that is gone are taken sooner than this, if another one lives that has their code.
const ORPHANED: Duration = Duration::from_secs(120);
/// Retention is behind if a run should have been removed for longer than this.
const RETENTION_MARGIN: Duration = Duration::from_secs(24 * 3_600);
/// So many ended runs that are kept for ever are worth a word.
const MANY_RUNS: u64 = 1_000_000;

fn finding(severity: Severity, kind: &'static str, says: String, remedy: &str) -> Finding {
    Finding { severity, kind, says, remedy: remedy.to_owned() }
}

impl Facts {
    /// The most urgent first.
    pub(super) fn findings(&self, retention: &Retention) -> Vec<Finding> {
        let mut findings: Vec<Finding> = [
            self.forgets(),
            self.torn_pages(),
            self.asynchronous(),
            self.wraparound(),
            self.autovacuum(),
            self.few_connections(),
            self.clock(),
            self.leap(),
            self.set_back(),
            self.orphans(),
            self.few_in_place(),
            self.copying(),
            self.older_schema(),
            self.kept_for_ever(retention),
            self.unseen(),
        ]
        .into_iter()
        .flatten()
        .collect();
        findings.extend(self.snapshots.iter().filter_map(snapshot));
        findings.extend(self.prepared.iter().filter_map(prepared));
        findings.extend(self.slots.iter().filter_map(slot));
        findings.extend(self.tables.iter().filter_map(dead_rows));
        findings.extend(self.tables.iter().filter_map(bloated_table));
        findings.extend(self.indexes.iter().filter_map(bloated_index));
        findings.extend(self.retention(retention));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    fn forgets(&self) -> Option<Finding> {
        let why = durability::forgets(&self.settings.fsync, &self.settings.synchronous_commit)?;
        let remedy = "switch it on; what was acknowledged may be lost otherwise, and effects then happen twice";
        Some(finding(Severity::Danger, "FORGETS", why, remedy))
    }

    fn torn_pages(&self) -> Option<Finding> {
        (self.settings.full_page_writes == "off").then(|| {
            let says = "full_page_writes is off: a crash in the middle of a write leaves damaged pages".to_owned();
            let remedy = "switch it on, unless the file system itself prevents torn writes";
            finding(Severity::Warning, "TORN_PAGES", says, remedy)
        })
    }

    fn asynchronous(&self) -> Option<Finding> {
        let why = durability::asynchronous(
            self.standbys,
            &self.settings.synchronous_standby_names,
            &self.settings.synchronous_commit,
        )?;
        let remedy =
            "set synchronous_standby_names, or accept that after a failover effects of the last moments happen twice";
        Some(finding(Severity::Warning, "ASYNCHRONOUS_STANDBY", why, remedy))
    }

    fn wraparound(&self) -> Option<Finding> {
        let severity = match self.transactions {
            age if age > NEAR_WRAPAROUND => Severity::Danger,
            age if self.settings.freeze_after > 0 && age > 2 * self.settings.freeze_after => Severity::Warning,
            _ => return None,
        };
        let says = format!(
            "the oldest row is {} transactions old, vacuum should freeze after {}: at 2 billion the server takes no writes",
            self.transactions, self.settings.freeze_after
        );
        let remedy = "end what holds old snapshots, then VACUUM (FREEZE) the database; see that autovacuum comes";
        Some(finding(severity, "WRAPAROUND", says, remedy))
    }

    fn autovacuum(&self) -> Option<Finding> {
        let refusing: Vec<&str> =
            self.tables.iter().filter(|table| table.refuses_vacuum).map(|table| table.name.as_str()).collect();
        let says = match (self.settings.autovacuum.as_str(), refusing.as_slice()) {
            ("off", _) => "autovacuum is off in the server".to_owned(),
            (_, []) => return None,
            (_, tables) => format!("autovacuum is off for {}", tables.join(", ")),
        };
        let remedy = "switch it on: tables and indexes of runs grow without it, and every claim reads dead rows";
        Some(finding(Severity::Warning, "AUTOVACUUM_OFF", says, remedy))
    }

    fn few_connections(&self) -> Option<Finding> {
        let (used, most) = (self.connections, self.settings.most_connections);
        (most > 0 && used * 5 > most * 4).then(|| {
            let says = format!("{used} of {most} connections of the server are in use");
            let remedy =
                "lower store.connections, put a pooler in transaction mode before the server, or raise max_connections";
            finding(Severity::Warning, "FEW_CONNECTIONS", says, remedy)
        })
    }

    fn clock(&self) -> Option<Finding> {
        (self.ahead.abs() > CLOCK_MARGIN).then(|| {
            let side = if self.ahead > 0 { "ahead of" } else { "behind" };
            let says = format!("the database's clock is {} s {side} this machine's", self.ahead.abs() / 1_000_000);
            finding(Severity::Warning, "CLOCK_DIFFERS", says, "synchronize both by NTP: schedules go by them")
        })
    }

    fn leap(&self) -> Option<Finding> {
        (self.leapt.abs() > LEAP).then(|| {
            let says = format!(
                "the database's clock moved by {} ms against this machine's within a second",
                self.leapt / 1_000
            );
            let remedy = "let NTP slew the clock instead of setting it: leases end early or late when it leaps";
            finding(Severity::Warning, "CLOCK_LEAPS", says, remedy)
        })
    }

    fn set_back(&self) -> Option<Finding> {
        let until = self.last_lease.filter(|until| *until > self.now.after(LONGEST_LEASE))?;
        let ahead = until.since(self.now).as_secs();
        let says =
            format!("a lease ends in {ahead} s, which is longer than any lease: the database's clock was set back");
        let remedy =
            "set the clock; until then, or until that time, runs of a replica that is lost are not taken by others";
        Some(finding(Severity::Danger, "CLOCK_SET_BACK", says, remedy))
    }

    fn orphans(&self) -> Option<Finding> {
        let since = self.orphaned_at.filter(|at| self.now.since(*at) > ORPHANED && self.orphans > 0)?;
        let says = format!(
            "{} runs of replicas that are gone wait for {} s already, with {} replicas alive",
            self.orphans,
            self.now.since(since).as_secs(),
            self.replicas
        );
        let remedy =
            "start a replica that has the code of these runs; `orchestrator workflows list` says which one has it";
        Some(finding(Severity::Warning, "RUNS_WITHOUT_REPLICA", says, remedy))
    }

    fn few_in_place(&self) -> Option<Finding> {
        let live = self.tables.iter().find(|table| table.name == "live" && table.updates >= SOME_UPDATES)?;
        let share = self.in_place().filter(|share| *share < FEW_IN_PLACE)?;
        let says =
            format!("of {} updates of runs {share} % changed no index; {FEW_IN_PLACE} % or more should", live.updates);
        let remedy = "end what holds old snapshots; VACUUM live, so that its pages have room";
        Some(finding(Severity::Warning, "FEW_IN_PLACE", says, remedy))
    }

    fn copying(&self) -> Option<Finding> {
        self.copying.then(|| {
            let says = "a copy of another store into it is not whole, and no orchestrator starts on it".to_owned();
            finding(Severity::Warning, "COPY_UNDER_WAY", says, "repeat `orchestrator store copy` until it is whole")
        })
    }

    fn older_schema(&self) -> Option<Finding> {
        (self.schema < VERSION).then(|| {
            let says = format!("its schema is {}, this program brings it to {VERSION} as it starts", self.schema);
            finding(Severity::Note, "OLDER_SCHEMA", says, "back it up first")
        })
    }

    fn kept_for_ever(&self, retention: &Retention) -> Option<Finding> {
        let kept = |(workflow, state, _): &&(String, _, _)| retention.of(workflow, *state).is_none();
        let (workflow, state, _) = self.oldest.iter().find(kept).filter(|_| self.ended >= MANY_RUNS)?;
        let says = format!(
            "about {} runs have ended, and some are kept for ever, such as {state} ones of {workflow}",
            self.ended
        );
        Some(finding(Severity::Note, "KEPT_FOR_EVER", says, "set retention for them if they need not be kept"))
    }

    fn unseen(&self) -> Option<Finding> {
        let mut unseen = self.unseen.clone();
        if self.hidden > 0 {
            unseen.insert(0, format!("what {} sessions of other users do", self.hidden));
        }
        (!unseen.is_empty()).then(|| {
            let says = format!("not seen: {}", unseen.join("; "));
            finding(
                Severity::Note,
                "NOT_ALL_SEEN",
                says,
                "to see it, GRANT pg_read_all_stats to the user, or look as another one",
            )
        })
    }

    /// For each workflow whose oldest ended run should be gone.
    fn retention(&self, retention: &Retention) -> Vec<Finding> {
        let late = |(workflow, state, ended_at): &(String, _, engine::time::Timestamp)| {
            let late = self.now.since(ended_at.after(retention.of(workflow, *state)?));
            (late > RETENTION_MARGIN).then(|| {
                let says =
                    format!("a {state} run of {workflow} should have been removed {} h ago", late.as_secs() / 3_600);
                let remedy = "see that an orchestrator runs on this store; its log says if removing runs fails";
                finding(Severity::Warning, "RETENTION_BEHIND", says, remedy)
            })
        };
        self.oldest.iter().filter_map(late).collect()
    }
}

fn snapshot(snapshot: &Snapshot) -> Option<Finding> {
    let Snapshot { pid, user, application, state, seconds } = snapshot;
    (*seconds > OLD).then(|| {
        let says = format!(
            "a transaction of {user} ({application}, process {pid}, {state}) is open for {seconds} s: dead rows stay meanwhile"
        );
        let remedy = format!("commit it; or end it by SELECT pg_terminate_backend({pid})");
        Finding { severity: Severity::Warning, kind: "OLD_SNAPSHOT", says, remedy }
    })
}

fn prepared(prepared: &Prepared) -> Option<Finding> {
    let Prepared { gid, owner, seconds } = prepared;
    (*seconds > OLD).then(|| {
        let says =
            format!("the prepared transaction {gid} of {owner} is open for {seconds} s: dead rows stay meanwhile");
        let remedy = format!("COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}'");
        Finding { severity: Severity::Warning, kind: "PREPARED_TRANSACTION", says, remedy }
    })
}

fn slot(slot: &Slot) -> Option<Finding> {
    let Slot { name, is_active, bytes: kept, transactions } = slot;
    (*kept > MUCH_LOG || *transactions > MANY_TRANSACTIONS).then(|| {
        let active = if *is_active { "is behind" } else { "has no reader" };
        let says = format!(
            "the replication slot {name} {active}: {} of log are kept for it, and {transactions} transactions held back",
            bytes(*kept)
        );
        let remedy = format!("let its reader catch up; or SELECT pg_drop_replication_slot('{name}')");
        Finding { severity: Severity::Warning, kind: "SLOT_BEHIND", says, remedy }
    })
}

fn dead_rows(table: &TableFacts) -> Option<Finding> {
    let TableFacts { name, rows, dead, vacuumed, .. } = table;
    (*dead > MANY_DEAD && dead > rows).then(|| {
        let when = match vacuumed {
            Some(seconds) => format!("was vacuumed {seconds} s ago"),
            None => "was never vacuumed".to_owned(),
        };
        let says = format!("table {name} has {dead} dead rows beside {rows}, and {when}: autovacuum does not keep up");
        let remedy =
            format!("end what holds old snapshots; VACUUM {name}; lower autovacuum_naptime or raise its cost limit");
        Finding { severity: Severity::Warning, kind: "DEAD_ROWS", says, remedy }
    })
}

fn bloated_table(table: &TableFacts) -> Option<Finding> {
    let TableFacts { name, bytes: size, rows, .. } = table;
    (name == "live" && *size > LARGE && size / (rows + 1) > WIDE_ROW).then(|| {
        let says = format!("table {name} takes {} for {rows} rows", bytes(*size));
        let remedy =
            "VACUUM FULL live while no replica runs, or pg_repack, once nothing holds an old snapshot any more";
        finding(Severity::Warning, "BLOATED_TABLE", says, remedy)
    })
}

fn bloated_index(index: &IndexFacts) -> Option<Finding> {
    let IndexFacts { name, bytes: size, rows, is_valid } = index;
    let bloated = *size > LARGE && size / (rows + 1) > WIDE;
    (bloated || !is_valid).then(|| {
        let says = if *is_valid {
            format!("index {name} takes {} for {rows} rows", bytes(*size))
        } else {
            format!("index {name} is not valid: a CREATE or REINDEX of it was interrupted")
        };
        let remedy = format!("REINDEX INDEX CONCURRENTLY {name}");
        Finding { severity: Severity::Warning, kind: "BLOATED_INDEX", says, remedy }
    })
}

#[cfg(test)]
mod tests {
    use engine::retention::Kept;
    use engine::state::State;
    use engine::time::Timestamp;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);
    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn retention() -> Retention {
        Retention { runs: Kept { succeeded: Some(DAY), ..Kept::default() }, ..Retention::default() }
    }

    fn healthy() -> Facts {
        let on = || "on".to_owned();
        let settings = super::super::facts::Settings {
            fsync: on(),
            synchronous_commit: on(),
            full_page_writes: on(),
            autovacuum: on(),
            most_connections: 97,
            freeze_after: 200_000_000,
            ..Default::default()
        };
        let live = TableFacts { name: "live".to_owned(), rows: 10, ..TableFacts::default() };
        Facts { now: NOW, schema: VERSION, settings, tables: vec![live], replicas: 3, ..Facts::default() }
    }

    fn found(facts: &Facts) -> Vec<(Severity, &'static str)> {
        facts.findings(&retention()).into_iter().map(|finding| (finding.severity, finding.kind)).collect()
    }

    #[test]
    fn each_trouble_is_found_alone_and_a_healthy_database_has_none() {
        use Severity::{Danger, Note, Warning};
        type Change = fn(&mut Facts);
        let cases: &[(Severity, &str, Change)] = &[
            (Danger, "FORGETS", |facts| facts.settings.fsync = "off".to_owned()),
            (Danger, "FORGETS", |facts| facts.settings.synchronous_commit = "off".to_owned()),
            (Warning, "TORN_PAGES", |facts| facts.settings.full_page_writes = "off".to_owned()),
            (Warning, "ASYNCHRONOUS_STANDBY", |facts| facts.standbys = 1),
            (Warning, "WRAPAROUND", |facts| facts.transactions = 400_000_001),
            (Danger, "WRAPAROUND", |facts| facts.transactions = NEAR_WRAPAROUND + 1),
            (Warning, "AUTOVACUUM_OFF", |facts| facts.settings.autovacuum = "off".to_owned()),
            (Warning, "AUTOVACUUM_OFF", |facts| facts.tables[0].refuses_vacuum = true),
            (Warning, "FEW_CONNECTIONS", |facts| facts.connections = 78),
            (Warning, "CLOCK_DIFFERS", |facts| facts.ahead = -CLOCK_MARGIN - 1),
            (Warning, "CLOCK_LEAPS", |facts| facts.leapt = LEAP + 1),
            (Danger, "CLOCK_SET_BACK", |facts| facts.last_lease = Some(NOW.after(DAY))),
            (Warning, "RUNS_WITHOUT_REPLICA", |facts| {
                (facts.orphans, facts.orphaned_at) = (1, Some(NOW.before(2 * ORPHANED)));
            }),
            (Warning, "FEW_IN_PLACE", |facts| {
                (facts.tables[0].updates, facts.tables[0].hot_updates) = (SOME_UPDATES, SOME_UPDATES / 2);
            }),
            (Warning, "COPY_UNDER_WAY", |facts| facts.copying = true),
            (Note, "OLDER_SCHEMA", |facts| facts.schema -= 1),
            (Note, "NOT_ALL_SEEN", |facts| facts.hidden = 1),
            (Note, "NOT_ALL_SEEN", |facts| facts.unseen = vec!["the slots".to_owned()]),
            (Warning, "OLD_SNAPSHOT", |facts| {
                facts.snapshots = vec![Snapshot { seconds: OLD + 1, ..Snapshot::default() }];
            }),
            (Warning, "PREPARED_TRANSACTION", |facts| {
                facts.prepared = vec![Prepared { seconds: OLD + 1, ..Prepared::default() }];
            }),
            (Warning, "SLOT_BEHIND", |facts| facts.slots = vec![Slot { bytes: MUCH_LOG + 1, ..Slot::default() }]),
            (Warning, "DEAD_ROWS", |facts| facts.tables[0].dead = MANY_DEAD + 1),
            (Warning, "BLOATED_TABLE", |facts| facts.tables[0].bytes = LARGE + 1),
            (Warning, "BLOATED_INDEX", |facts| {
                facts.indexes = vec![IndexFacts { bytes: LARGE + 1, is_valid: true, ..IndexFacts::default() }];
            }),
            (Warning, "BLOATED_INDEX", |facts| facts.indexes = vec![IndexFacts::default()]),
            (Warning, "RETENTION_BEHIND", |facts| {
                facts.oldest = vec![("w".to_owned(), State::Succeeded, NOW.before(3 * DAY))];
            }),
            (Note, "KEPT_FOR_EVER", |facts| {
                facts.ended = MANY_RUNS;
                facts.oldest = vec![("w".to_owned(), State::Failed, NOW.before(3 * DAY))];
            }),
        ];
        assert_eq!(found(&healthy()), []);
        for (severity, kind, change) in cases {
            let mut facts = healthy();
            change(&mut facts);
            assert_eq!(found(&facts), [(*severity, *kind)]);
        }
    }

    #[test]
    fn the_most_urgent_comes_first() {
        let mut facts = healthy();
        facts.hidden = 1;
        facts.standbys = 1;
        facts.settings.fsync = "off".to_owned();
        let kinds: Vec<_> = found(&facts).into_iter().map(|(_, kind)| kind).collect();
        assert_eq!(kinds, ["FORGETS", "ASYNCHRONOUS_STANDBY", "NOT_ALL_SEEN"]);
    }
}
