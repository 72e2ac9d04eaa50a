//! Threads that read beside the writer, and the gate that keeps them from pinning its log.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::job::{Job, job};
use super::place::Place;
use super::shared::lock;
use crate::store::{Answer, StoreError};

/// Enough to read while another read is slow; each costs a thread and a page cache.
const THREADS: usize = 2;

enum Message {
    Read(Box<dyn Job<Connection>>),
    Stop,
}

/// Where callers hand in their reads.
#[derive(Clone)]
pub(super) struct Reads(Sender<Message>);

impl Reads {
    pub(super) fn submit<I, O>(&self, input: I, operation: super::job::Operation<Connection, I, O>) -> Answer<O>
    where
        I: Send + 'static,
        O: Send + 'static,
    {
        let (read, answer) = job(input, 0, operation);
        // Where nobody reads any more the job is dropped, and answers that the store is closed.
        drop(self.0.send(Message::Read(read)));
        answer
    }
}

/// The threads, as their store's writer sees them.
pub(super) struct Readers {
    gate: Arc<Gate>,
    queue: Sender<Message>,
    threads: Vec<JoinHandle<()>>,
}

/// Held open by each read, and shut by the writer.
struct Gate {
    place: Arc<Place>,
    open: RwLock<()>,
    connections: [Mutex<Option<Connection>>; THREADS],
}

impl Readers {
    pub(super) fn start(place: Arc<Place>) -> std::io::Result<(Self, Reads)> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let gate = Arc::new(Gate { place, open: RwLock::new(()), connections: Default::default() });
        let mut threads = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let (gate, receiver) = (gate.clone(), receiver.clone());
            let thread = std::thread::Builder::new().name(format!("store-reader-{number}"));
            threads.push(thread.spawn(move || gate.serve(number, &receiver))?);
        }
        Ok((Self { gate, queue: sender.clone(), threads }, Reads(sender)))
    }

    /// Runs `work` while no read is going on; reads that come meanwhile wait.
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
        for _ in &self.threads {
            drop(self.queue.send(Message::Stop));
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
            // One thread waits in the queue, the other for the mutex: either way the next read finds one.
            let message = lock(queue).recv();
            match message {
                Ok(Message::Read(read)) => self.read(number, read),
                Ok(Message::Stop) | Err(_) => return,
            }
        }
    }

    fn read(&self, number: usize, mut read: Box<dyn Job<Connection>>) {
        let _open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut connection = lock(&self.connections[number]);
        let done = match connection.take().map_or_else(|| self.place.reader(), Ok) {
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
                read.fail(StoreError::Unavailable(error.to_string()));
            }
        }
    }
}
