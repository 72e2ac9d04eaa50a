//! One operation on its way through a thread: its input, the code that does it, and who waits for the answer.

use tokio::sync::oneshot;

use crate::store::{Answer, StoreError};

/// Why an operation did not give its output.
#[derive(Debug)]
pub(super) enum Fault {
    /// The operation does not apply. It wrote nothing.
    Refused(StoreError),
    /// A statement failed. The transaction is rolled back.
    Statement(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Statement(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// The code of an operation. It checks first, and writes only when nothing but the disk can stop it.
pub(super) type Operation<S, I, O> = fn(&mut S, &I) -> Result<O, Fault>;

/// An operation with its types hidden, for a queue of many kinds. `S` is what it works on.
pub(super) trait Job<S>: Send {
    /// Does it, and keeps the output for [`Job::answer`]. May be done again after a rollback.
    fn run(&mut self, on: &mut S) -> rusqlite::Result<()>;

    /// Answers with the output of the last run.
    fn answer(self: Box<Self>);

    /// Answers with an error instead.
    fn fail(self: Box<Self>, error: StoreError);

    /// About how many bytes it writes.
    fn bytes(&self) -> usize;

    /// Whether somebody waits for the answer.
    fn is_awaited(&self) -> bool;
}

struct Task<S, I, O> {
    input: I,
    bytes: usize,
    operation: Operation<S, I, O>,
    output: Option<Result<O, StoreError>>,
    waiter: oneshot::Sender<Answered<I, O>>,
}

/// An answer, and the input on its way back: its maker frees it, not the thread that all wait for.
struct Answered<I, O> {
    output: Result<O, StoreError>,
    _input: I,
}

/// Makes a job and the answer to it. A job that is dropped answers that the store is closed.
pub(super) fn job<S, I, O>(input: I, bytes: usize, operation: Operation<S, I, O>) -> (Box<dyn Job<S>>, Answer<O>)
where
    S: 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let (waiter, answer) = oneshot::channel();
    let task = Task { input, bytes, operation, output: None, waiter };
    let output = async move { answer.await.map_or(Err(StoreError::Closed), |answered| answered.output) };
    (Box::new(task), Box::pin(output))
}

impl<S, I, O> Job<S> for Task<S, I, O>
where
    I: Send,
    O: Send,
{
    fn run(&mut self, on: &mut S) -> rusqlite::Result<()> {
        self.output = None;
        match (self.operation)(on, &self.input) {
            Ok(output) => self.output = Some(Ok(output)),
            Err(Fault::Refused(error)) => self.output = Some(Err(error)),
            Err(Fault::Statement(error)) => return Err(error),
        }
        Ok(())
    }

    fn answer(self: Box<Self>) {
        let Self { input, output, waiter, .. } = *self;
        // No one may wait any more; the operation stands all the same.
        drop(waiter.send(Answered { output: output.unwrap_or(Err(StoreError::Closed)), _input: input }));
    }

    fn fail(self: Box<Self>, error: StoreError) {
        drop(self.waiter.send(Answered { output: Err(error), _input: self.input }));
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_awaited(&self) -> bool {
        !self.waiter.is_closed()
    }
}
