//! What the runs of one replica share: the ports, the limits, and the tables in which they find each other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::authoring::workflow::Registry;
use crate::limits::Limits;
use crate::outage_waiters::OutageWaiters;
use crate::quarantine::Quarantine;
use crate::random::RandomSource;
use crate::run_table::RunTable;
use crate::safeguards::Safeguards;
use crate::store::Store;
use crate::time::Clock;
use crate::transport::Transport;
use crate::watchers::Watchers;

/// Below the drivers and the engine that starts them; both work on it.
pub(crate) struct Environment {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) workflows: Registry,
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    pub(crate) limits: Arc<Limits>,
    pub(crate) safeguards: Safeguards,
    /// Runs that the process before this one may have died of; each is looked at one time.
    pub(crate) suspects: Mutex<HashSet<Uuid>>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) outage_waiters: OutageWaiters,
    pub(crate) runs: Arc<RunTable>,
    /// A run became due, or there is room for one that is.
    pub(crate) due: Notify,
}

impl Environment {
    /// Tells a run that there is something new for it. If it is not in memory, a claim finds it, or has found it and
    /// brings it: then the run hears of this as it comes.
    pub(crate) fn tell(&self, run: Uuid, mail: u16) {
        if !self.runs.tell(run, mail) {
            self.due.notify_one();
        }
    }
}
