//! The runs in memory of one replica, by their mailboxes; and what others were told while a claim was on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::mailbox::{MESSAGE, Mailbox, PendingCommand};

/// The runs in memory.
#[derive(Debug, Default)]
pub(crate) struct RunTable {
    runs: Mutex<HashMap<Uuid, Arc<Mailbox>>>,
    claims: ClaimsOnTheirWay,
}

impl RunTable {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Mailbox>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mailbox of every run in memory, in the order of their ids.
    pub(crate) fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let mut runs: Vec<_> = self.lock().iter().map(|(run, mailbox)| (*run, Arc::clone(mailbox))).collect();
        runs.sort_unstable_by_key(|(run, _)| *run);
        runs.into_iter().map(|(_, mailbox)| mailbox).collect()
    }

    pub(crate) fn mailbox(&self, run: Uuid) -> Option<Arc<Mailbox>> {
        self.lock().get(&run).map(Arc::clone)
    }

    pub(crate) fn contains(&self, run: Uuid) -> bool {
        self.lock().contains_key(&run)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Adds a run, and gives it what it was told while its claim was on its way. Returns `None` if it is in memory already,
    /// or if `most` runs are.
    pub(crate) fn add(&self, run: Uuid, most: usize) -> Option<Arc<Mailbox>> {
        let mut runs = self.lock();
        if runs.len() >= most || runs.contains_key(&run) {
            return None;
        }
        let mailbox = Arc::new(Mailbox::default());
        let Unheard { told, commands } = self.claims.take(run);
        if told {
            mailbox.send(MESSAGE);
        }
        commands.into_iter().for_each(|command| mailbox.command(command));
        runs.insert(run, Arc::clone(&mailbox));
        Some(mailbox)
    }

    /// Removes a run. A claim may have found it already: what it has not looked at may be in no row that this claim brings. What
    /// an outdated copy has looked at is known to no one any more; `sure` says that the store knows that the run left.
    pub(crate) fn remove(&self, run: Uuid, mailbox: &Mailbox, sure: bool) {
        let mut runs = self.lock();
        runs.remove(&run);
        if !sure || mailbox.has_mail_from_outside() {
            self.claims.keep(run);
        }
    }

    /// Tells a run that there is something new for it. Returns false if it is not in memory: then the claim that is on its
    /// way, or the next one, brings it.
    pub(crate) fn tell(&self, run: Uuid, mail: u16) -> bool {
        // Under the lock, so that the run does not leave or come between the look and the wish.
        let runs = self.lock();
        match runs.get(&run) {
            Some(mailbox) => mailbox.send(mail),
            None => self.claims.keep(run),
        }
        runs.contains_key(&run)
    }

    /// Has a run that a replica holds do this. If it is not in memory, the claim that is on its way brings it; the run does it
    /// before anything else. If there is no such claim, the answer never comes.
    pub(crate) fn command(&self, run: Uuid, command: PendingCommand) {
        let runs = self.lock();
        match runs.get(&run) {
            Some(mailbox) => mailbox.command(command),
            None => self.claims.keep_command(run, command),
        }
    }

    /// From here on until the answer is dropped, it is noted which runs are told something and are not in memory. The caller
    /// holds the lock of the runs in memory, and asks the store for its claim after this.
    pub(crate) fn claim_begins(self: &Arc<Self>) -> OnItsWay {
        self.claims.lock().claims += 1;
        OnItsWay(Arc::clone(self))
    }
}

/// What runs were told while a claim was on its way: the row that it brings may be older than that (S8).
#[derive(Debug, Default)]
struct ClaimsOnTheirWay(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    claims: usize,
    runs: HashMap<Uuid, Unheard>,
}

/// What one run was told.
#[derive(Debug, Default)]
struct Unheard {
    /// Whether there is something new in its row.
    told: bool,
    /// What it is to do as soon as it comes.
    commands: Vec<PendingCommand>,
}

impl ClaimsOnTheirWay {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, run: Uuid) {
        let mut noted = self.lock();
        // If no claim is on its way, the next one is made later, and its row says it.
        if noted.claims > 0 {
            noted.runs.entry(run).or_default().told = true;
        }
    }

    /// Keeps it until the run comes. If no claim brings the run, its answer never comes.
    fn keep_command(&self, run: Uuid, command: PendingCommand) {
        let mut noted = self.lock();
        if noted.claims > 0 {
            noted.runs.entry(run).or_default().commands.push(command);
        }
    }

    fn take(&self, run: Uuid) -> Unheard {
        self.lock().runs.remove(&run).unwrap_or_default()
    }
}

/// A claim whose runs are not all in memory yet.
pub(crate) struct OnItsWay(Arc<RunTable>);

impl Clone for OnItsWay {
    fn clone(&self) -> Self {
        self.0.claim_begins()
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut noted = self.0.claims.lock();
        noted.claims -= 1;
        if noted.claims == 0 {
            noted.runs.clear();
        }
    }
}
