//! The numbers that stand for a workflow's name and version in the rows of runs.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

/// All names, versions and numbers of the store. A handful: a version is added by a release, not by a run.
#[derive(Debug, Default)]
pub(super) struct Workflows {
    numbers: HashMap<String, Vec<(u32, i64)>>,
    /// Numbers given in the transaction that is open; a rollback takes them back.
    new: Vec<(String, u32)>,
    /// Workflows among whose runs none is left that an earlier owner held.
    swept: HashSet<i64>,
}

impl Workflows {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut workflows = Self::default();
        let mut statement = connection.prepare("SELECT name, version, id FROM workflows")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            workflows.numbers.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
        }
        Ok(workflows)
    }

    /// The number of a workflow in a version, given now if it has none.
    pub(super) fn number(&mut self, connection: &Connection, name: &str, version: u32) -> rusqlite::Result<i64> {
        let known = self.numbers.get(name).and_then(|all| all.iter().find(|(known, _)| *known == version));
        if let Some((_, number)) = known {
            return Ok(*number);
        }
        let number = connection.query_row(
            "INSERT INTO workflows (name, version) VALUES (?1, ?2) RETURNING id",
            (name, version),
            |row| row.get(0),
        )?;
        self.numbers.entry(name.to_owned()).or_default().push((version, number));
        self.new.push((name.to_owned(), version));
        // Its runs will be created under this owner.
        self.swept.insert(number);
        Ok(number)
    }

    /// Numbers of the named workflow, up to the given version.
    pub(super) fn up_to(&self, name: &str, newest: u32) -> impl Iterator<Item = i64> {
        let all = self.numbers.get(name).map_or(&[][..], Vec::as_slice);
        all.iter().filter(move |(version, _)| *version <= newest).map(|(_, number)| *number)
    }

    pub(super) fn is_swept(&self, number: i64) -> bool {
        self.swept.contains(&number)
    }

    /// Remembers that no run of the workflow is held by an earlier owner; there can be no new ones.
    pub(super) fn set_swept(&mut self, number: i64) {
        self.swept.insert(number);
    }

    /// The open transaction is about to stand.
    pub(super) fn keep(&mut self) {
        self.new.clear();
    }

    /// The open transaction is taken back.
    pub(super) fn forget(&mut self) {
        for (name, version) in self.new.drain(..) {
            if let Some(all) = self.numbers.get_mut(&name) {
                all.retain(|(known, _)| *known != version);
            }
        }
        self.swept.clear();
    }
}
