//! Threads that read beside the writer, and the gate that keeps them from pinning its log.
//!
//! Reads for callers have a thread of their own, which takes no other: however many they are, none of the engine waits
//! behind them.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::database::is_damage;
use super::files::StoreFiles;
use super::job::{Job, job};
use super::shared::{Shared, lock};
use crate::store::{Answer, Lane, StoreError};

/// Whose reads each thread does. Two for the engine are enough to read while another read is slow; each costs a thread
/// and a page cache.
const THREADS: [Lane; 3] = [Lane::Engine, Lane::Engine, Lane::Callers];

enum Message {
    Read(Box<dyn Job<Connection>>),
    Stop,
}

/// Where reads are handed in.
#[derive(Clone)]
pub(super) struct Reads {
    engine: Sender<Message>,
    callers: Sender<Message>,
}

impl Reads {
    pub(super) fn submit<I, O>(&self, input: I, operation: super::job::Operation<Connection, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (read, answer) = job(input, 0, operation);
        // Where no one reads any more the job is dropped, and answers that the store is closed.
        drop(self.lane(Lane::current()).send(Message::Read(read)));
        answer
    }

    fn lane(&self, lane: Lane) -> &Sender<Message> {
        match lane {
            Lane::Engine => &self.engine,
            Lane::Callers => &self.callers,
        }
    }
}

/// The threads, as their store's writer sees them.
pub(super) struct Readers {
    gate: Arc<Gate>,
    reads: Reads,
    threads: Vec<JoinHandle<()>>,
}

/// Held open by each read, and shut by the writer.
struct Gate {
    files: Arc<StoreFiles>,
    shared: Arc<Shared>,
    open: RwLock<()>,
    connections: [Mutex<Option<Connection>>; THREADS.len()],
}

impl Readers {
    pub(super) fn start(files: Arc<StoreFiles>, shared: Arc<Shared>) -> std::io::Result<(Self, Reads)> {
        let [(engine, of_engine), (callers, of_callers)] = std::array::from_fn(|_| mpsc::channel());
        let [of_engine, of_callers] = [of_engine, of_callers].map(|queue| Arc::new(Mutex::new(queue)));
        let gate = Arc::new(Gate { files, shared, open: RwLock::new(()), connections: Default::default() });
        let mut threads = Vec::with_capacity(THREADS.len());
        for (number, lane) in THREADS.into_iter().enumerate() {
            let queue = match lane {
                Lane::Engine => of_engine.clone(),
                Lane::Callers => of_callers.clone(),
            };
            let gate = gate.clone();
            let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
            threads.push(thread.spawn(move || gate.serve(number, &queue))?);
        }
        let reads = Reads { engine, callers };
        Ok((Self { gate, reads: reads.clone(), threads }, reads))
    }

    /// Runs `work` while no read is continuing; reads that come meanwhile wait.
    pub(super) fn shut_while<T>(&self, work: impl FnOnce() -> T) -> T {
        let _shut = self.gate.open.write().unwrap_or_else(PoisonError::into_inner);
        work()
    }

    /// The same with no connection of a reader open; later reads open new ones.
    pub(super) fn apart_while<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shut_while(|| {
            for connection in &self.gate.connections {
                lock(connection).take();
            }
            work()
        })
    }

    /// Ends the threads after what was submitted before.
    pub(super) fn stop(&mut self) {
        for lane in THREADS {
            drop(self.reads.lane(lane).send(Message::Stop));
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
        self.apart_while(|| ());
    }
}

impl Gate {
    fn serve(&self, number: usize, queue: &Mutex<Receiver<Message>>) {
        loop {
            // Where two threads share a queue one waits in it, the other for the mutex: the next read finds one either way.
            let message = lock(queue).recv();
            match message {
                // The caller has gone; a read changes nothing.
                Ok(Message::Read(read)) if !read.is_awaited() => {}
                Ok(Message::Read(read)) => self.read(number, read),
                Ok(Message::Stop) | Err(_) => return,
            }
        }
    }

    fn read(&self, number: usize, mut read: Box<dyn Job<Connection>>) {
        let _open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut connection = lock(&self.connections[number]);
        let done = match connection.take().map_or_else(|| self.files.reader(), Ok) {
            Ok(mut opened) => {
                let done = read.run(&mut opened);
                // A connection that failed is not used again.
                *connection = done.is_ok().then_some(opened);
                done
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => read.answer(),
            Err(error) => {
                tracing::warn!(%error, "read from the store failed");
                if is_damage(&error) {
                    self.shared.damaged(&error.to_string());
                }
                read.fail(StoreError::Unavailable(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::store::for_caller;
    use crate::store::sqlite::job::Fault;

    /// Something to wait for, and where to say that it began.
    type Slow = (Sender<()>, Mutex<Receiver<()>>);

    fn slow(_: &mut Connection, (began, go_on): &Slow) -> Result<(), Fault> {
        began.send(()).unwrap();
        lock(go_on).recv().unwrap();
        Ok(())
    }

    fn quick(_: &mut Connection, began: &Sender<()>) -> Result<(), Fault> {
        began.send(()).unwrap();
        Ok(())
    }

    fn readers() -> (tempfile::TempDir, Readers, Reads) {
        let folder = tempfile::tempdir().unwrap();
        let files = Arc::new(StoreFiles::take(&folder.path().join("store.db")).unwrap());
        drop(files.writer(true).unwrap());
        let (readers, reads) = Readers::start(files, Arc::new(Shared::new())).unwrap();
        (folder, readers, reads)
    }

    #[tokio::test]
    async fn a_read_of_the_engine_does_not_wait_for_those_of_callers() {
        let (_folder, mut readers, reads) = readers();
        let (began, begins) = channel();
        let (go_on, goes_on) = channel();
        let first = for_caller(|| reads.submit((began.clone(), Mutex::new(goes_on)), slow));
        begins.recv_timeout(Duration::from_secs(10)).unwrap();
        let behind = for_caller(|| reads.submit(began.clone(), quick));
        reads.submit(channel().0, |_, _: &Sender<()>| Ok(())).await.unwrap();
        assert!(begins.try_recv().is_err(), "the second read of a caller overtook the first");
        go_on.send(()).unwrap();
        first.await.unwrap();
        behind.await.unwrap();
        readers.stop();
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_any_more_is_not_done() {
        let (_folder, mut readers, reads) = readers();
        let (began, begins) = channel();
        let (go_on, goes_on) = channel();
        let first = for_caller(|| reads.submit((began.clone(), Mutex::new(goes_on)), slow));
        begins.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(for_caller(|| reads.submit(began.clone(), quick)));
        go_on.send(()).unwrap();
        first.await.unwrap();
        for_caller(|| reads.submit(channel().0, |_, _: &Sender<()>| Ok(()))).await.unwrap();
        assert!(begins.try_recv().is_err());
        readers.stop();
    }
}
