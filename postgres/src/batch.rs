//! Creations and appends of many runs in one commit: whatever waits while a commit is on its way goes with the next one. Several
//! are on their way at the same time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use engine::store::{Append, Appended, Created, NewRun, StoreError};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::runs::{self, Writes};
use crate::work::Work;

/// Operations in one commit, at most,
const OPERATIONS: usize = 512;
/// and bytes, about.
const BYTES: usize = 1 << 20;

/// A commit leaves when the one before is answered: a statement costs much the same for one row as for ten, so that many of them
/// with few rows each cost more than they save. One that takes longer than this, because of a slow disk or a row that
/// somebody else has locked, does not hold up the next one,
const STAGGER: Duration = Duration::from_millis(20);
/// until so many are on their way at the same time.
const COMMITS: usize = 4;

/// An operation that shares its commit with others, and who waits for its answer.
pub(crate) enum Queued {
    Create(Box<NewRun>, oneshot::Sender<Result<Created, StoreError>>),
    Append(Box<Append>, oneshot::Sender<Result<Appended, StoreError>>),
}

impl Queued {
    fn bytes(&self) -> usize {
        match self {
            Self::Create(run, _) => run.entry.len(),
            Self::Append(append, _) => append.entry.len(),
        }
    }
}

/// Groups what comes until no one can send any more.
pub(crate) async fn group(mut queue: mpsc::UnboundedReceiver<Queued>, work: Arc<Work>) {
    let places = Arc::new(Semaphore::new(COMMITS));
    let mut before: Option<JoinHandle<()>> = None;
    while let Some(first) = queue.recv().await {
        // Meanwhile, more comes.
        if let Some(before) = &mut before {
            drop(tokio::time::timeout(STAGGER, before).await);
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (mut bytes, mut count) = (first.bytes(), 1);
        let mut group = Group::default();
        group.add(first);
        while count < OPERATIONS
            && bytes < BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes();
            count += 1;
            group.add(next);
        }
        before = Some(tokio::spawn(group.write(Arc::clone(&work), place)));
    }
}

/// What goes together: one statement for each kind, and one commit.
#[derive(Default)]
struct Group {
    writes: Writes,
    creators: Vec<oneshot::Sender<Result<Created, StoreError>>>,
    movers: Vec<oneshot::Sender<Result<Appended, StoreError>>>,
    enders: Vec<oneshot::Sender<Result<Appended, StoreError>>>,
}

impl Group {
    fn add(&mut self, queued: Queued) {
        match queued {
            Queued::Create(run, waiter) => {
                self.writes.creates.push(run);
                self.creators.push(waiter);
            }
            Queued::Append(append, waiter) if append.status.state.is_end() => {
                self.writes.ends.push(append);
                self.enders.push(waiter);
            }
            Queued::Append(append, waiter) => {
                self.writes.moves.push(append);
                self.movers.push(waiter);
            }
        }
    }

    async fn write(self, work: Arc<Work>, place: OwnedSemaphorePermit) {
        let Self { writes, creators, movers, enders } = self;
        let written = work.repeated(&writes, |session, writes| runs::write_all(session, writes).boxed()).await;
        drop(place);
        let written = match written {
            Ok(written) => written,
            // Nothing was done, and one of them may be the reason: each is tried by itself, so that it fails alone.
            Err(fault) if fault.did_nothing() => HashSet::new(),
            Err(fault) => {
                let error = fault.into_answer();
                fail(creators, &error);
                fail(movers.into_iter().chain(enders), &error);
                return;
            }
        };
        for (run, waiter) in writes.creates.into_iter().zip(creators) {
            if written.contains(&run.id) {
                drop(waiter.send(Ok(Created::New)));
            } else {
                let work = Arc::clone(&work);
                tokio::spawn(async move { drop(waiter.send(create(&work, &run).await)) });
            }
        }
        let appends = writes.moves.into_iter().chain(writes.ends);
        for (append, waiter) in appends.zip(movers.into_iter().chain(enders)) {
            if written.contains(&append.run) {
                drop(waiter.send(Ok(Appended::Done)));
            } else {
                let work = Arc::clone(&work);
                tokio::spawn(async move { drop(waiter.send(append_alone(&work, &append).await)) });
            }
        }
    }
}

/// One that was made before finds out by itself whether it is that one.
async fn create(work: &Work, run: &NewRun) -> Result<Created, StoreError> {
    work.transaction(run, |session, run| runs::create(session, run).boxed()).await
}

/// One that did not find its run the way its owner knows it is told why.
async fn append_alone(work: &Work, append: &Append) -> Result<Appended, StoreError> {
    work.transaction(append, |session, append| runs::append(session, append).boxed()).await
}

fn fail<O>(waiters: impl IntoIterator<Item = oneshot::Sender<Result<O, StoreError>>>, error: &StoreError) {
    for waiter in waiters {
        drop(waiter.send(Err(error.clone())));
    }
}
