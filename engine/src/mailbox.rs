//! How the engine and operators reach a run that is in memory.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use crate::run_command::{Refused, RunCommand};
use crate::store::{AuditedChange, RunRow};

/// A command on its way to a run in memory.
#[derive(Debug)]
pub(crate) struct PendingCommand {
    pub(crate) command: RunCommand,
    pub(crate) change: AuditedChange,
    pub(crate) answer: oneshot::Sender<Result<RunRow, Refused>>,
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    mail: AtomicU16,
    /// Whether there is a wish that the run has not looked at.
    told: AtomicBool,
    waker: AtomicWaker,
    commands: Mutex<Vec<PendingCommand>>,
}

/// An operator asked the run to end.
pub(crate) const CANCEL: u16 = 1;
/// The replica goes: start nothing new, let what is in flight finish.
pub(crate) const DRAIN: u16 = 2;
/// The replica cannot wait any longer.
pub(crate) const GIVE_UP: u16 = 4;
/// The claim is lost: stop immediately and write nothing.
pub(crate) const LOST: u16 = 8;
/// A message came.
pub(crate) const MESSAGE: u16 = 32;
/// An operator asked the run to stop.
pub(crate) const PAUSE: u16 = 64;
/// The pause that an operator asked for stops the run's clock.
pub(crate) const STOP_CLOCK: u16 = 256;
/// What others tell a run, wherever it is held.
const FROM_OUTSIDE: u16 = CANCEL | MESSAGE | PAUSE | STOP_CLOCK;
/// An operator asks for something that is answered once it is durable.
pub(crate) const COMMANDED: u16 = 16;
/// Code was woken by something that is no step.
pub(crate) const FOREIGN: u16 = 128;

impl Mailbox {
    pub(crate) fn send(&self, mail: u16) {
        self.mail.fetch_or(mail, Ordering::AcqRel);
        self.told.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the run was told something from outside that it may not have looked at.
    pub(crate) fn has_mail_from_outside(&self) -> bool {
        self.has(FROM_OUTSIDE)
    }

    /// The same; the row that the run reads after this says what it was.
    pub(crate) fn take_from_outside(&self) -> bool {
        self.mail.fetch_and(!FROM_OUTSIDE, Ordering::AcqRel) & FROM_OUTSIDE != 0
    }

    /// Has the run do what an operator asks. Where it leaves memory before that, the answer never comes.
    pub(crate) fn command(&self, command: PendingCommand) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.send(COMMANDED);
    }

    pub(crate) fn take_commands(&self) -> Vec<PendingCommand> {
        self.mail.fetch_and(!COMMANDED, Ordering::AcqRel);
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends once for each time that there is something new to look at. For one task.
    pub(crate) async fn notified(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.told.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Whether there is this wish; it is fulfilled now.
    pub(crate) fn take(&self, mail: u16) -> bool {
        self.has(mail) && self.mail.fetch_and(!mail, Ordering::AcqRel) & mail != 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mail.load(Ordering::Acquire) == 0
    }

    pub(crate) fn has(&self, mail: u16) -> bool {
        self.mail.load(Ordering::Acquire) & mail != 0
    }
}
