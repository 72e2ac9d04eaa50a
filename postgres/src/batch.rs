//! Creations and appends of many runs in one statement and one commit: whatever waits while a statement is on its way goes with
//! the next one. Several are on their way at the same time.

use std::collections::HashSet;
use std::sync::Arc;

use engine::store::{Append, Appended, Created, NewRun, StoreError};
use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use crate::runs;
use crate::session::Fault;
use crate::work::Work;

/// Operations in one statement, at most,
const OPERATIONS: usize = 256;
/// and bytes, about.
const BYTES: usize = 1 << 20;

/// An operation that shares its statement with others, and who waits for its answer.
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

/// Operations, and who waits for each.
type Waiting<I, O> = (Vec<Box<I>>, Vec<oneshot::Sender<Result<O, StoreError>>>);

/// Groups what comes until no one can send any more.
pub(crate) async fn group(mut queue: mpsc::UnboundedReceiver<Queued>, work: Arc<Work>, at_once: usize) {
    let places = Arc::new(Semaphore::new(at_once));
    while let Some(first) = queue.recv().await {
        // While there is no place, more comes.
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
        tokio::spawn(group.write(Arc::clone(&work), place));
    }
}

/// What goes together. Each kind is a statement, and so a commit, of its own.
#[derive(Default)]
struct Group {
    creates: Waiting<NewRun, Created>,
    moves: Waiting<Append, Appended>,
    ends: Waiting<Append, Appended>,
}

impl Group {
    fn add(&mut self, queued: Queued) {
        match queued {
            Queued::Create(run, waiter) => {
                self.creates.0.push(run);
                self.creates.1.push(waiter);
            }
            Queued::Append(append, waiter) => {
                let group = if append.status.state.is_end() { &mut self.ends } else { &mut self.moves };
                group.0.push(append);
                group.1.push(waiter);
            }
        }
    }

    async fn write(self, work: Arc<Work>, place: OwnedSemaphorePermit) {
        let Self { creates, moves, ends } = self;
        tokio::join!(create(&work, creates), append(&work, moves), append(&work, ends));
        drop(place);
    }
}

async fn create(work: &Work, (runs, waiters): Waiting<NewRun, Created>) {
    if runs.is_empty() {
        return;
    }
    let made = work.statement(&runs, |session, runs| runs::create_all(session, runs).boxed()).await;
    let made: HashSet<Uuid> = match made {
        Ok(made) => made.into_iter().collect(),
        // One of them was made before, and each finds out by itself whether it is that one.
        Err(fault) if fault.may_be_repeated() => HashSet::new(),
        Err(fault) => return fail(waiters, fault),
    };
    for (run, waiter) in runs.into_iter().zip(waiters) {
        let answer = if made.contains(&run.id) {
            Ok(Created::New)
        } else {
            work.transaction(&*run, |session, run| runs::create(session, run).boxed()).await
        };
        drop(waiter.send(answer));
    }
}

async fn append(work: &Work, (appends, waiters): Waiting<Append, Appended>) {
    if appends.is_empty() {
        return;
    }
    let done = work.repeated(&appends, |session, appends| runs::append_all(session, appends).boxed()).await;
    let done: HashSet<Uuid> = match done {
        Ok(done) => done.into_iter().collect(),
        Err(fault) => return fail(waiters, fault),
    };
    for (append, waiter) in appends.into_iter().zip(waiters) {
        let answer = if done.contains(&append.run) {
            Ok(Appended::Done)
        } else {
            let why = work.repeated(&*append, |session, append| runs::why_not(session, append).boxed());
            why.await.map_err(Fault::into_answer)
        };
        drop(waiter.send(answer));
    }
}

fn fail<O>(waiters: Vec<oneshot::Sender<Result<O, StoreError>>>, fault: Fault) {
    let error = fault.into_answer();
    for waiter in waiters {
        drop(waiter.send(Err(error.clone())));
    }
}
