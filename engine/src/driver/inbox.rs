//! Messages to the run: read from the store, received by the waits that are for them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::step::{LiveStep, StepKind};
use super::{Driver, Exit};
use crate::failure::Failure;
use crate::journal::{Kind, store_failure};
use crate::journal_v1 as stored;
use crate::step_id::{SlotId, StepId};
use crate::store::{Message, StoreError};
use crate::time::Timestamp;

/// What the run knows of its inbox. How many messages it has seen stands in its row.
#[derive(Default)]
pub(super) struct Inbox {
    /// Messages that no wait has received, oldest first.
    messages: Vec<Message>,
    /// Messages that were received, and are taken out of the store by the next append.
    takes: Vec<u64>,
    look: Option<Look>,
    /// There may be more than the look under way finds.
    again: bool,
    /// All messages that came until then are known.
    looked_at: Timestamp,
    /// Waits whose time has passed, until it is known whether their message came in time.
    overdue: Vec<(Timestamp, SlotId)>,
}

struct Look {
    begun_at: Timestamp,
    answer: BoxFuture<'static, Result<Vec<Message>, StoreError>>,
}

/// Between attempts to read an inbox.
const PAUSE: Duration = Duration::from_millis(250);

/// The answer of the look under way; never, where there is none.
pub(super) async fn looked(inbox: &mut Inbox) -> Result<Vec<Message>, StoreError> {
    match &mut inbox.look {
        Some(look) => look.answer.as_mut().await,
        None => std::future::pending().await,
    }
}

impl Inbox {
    pub(super) fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    pub(super) fn take(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.takes)
    }

    /// The append that would have taken these was refused.
    pub(super) fn restore(&mut self, takes: Vec<u64>) {
        self.takes.splice(..0, takes);
    }
}

impl Driver {
    /// What a run finds that was just claimed.
    pub(super) fn find_inbox(&mut self, returned: Vec<Message>, unread: Vec<Message>) {
        self.row.messages = self.row.messages.max(unread.last().map_or(0, |message| message.number));
        // The claim has seen every message before it.
        self.inbox.looked_at = self.row.updated_at;
        let messages = returned.into_iter().chain(unread);
        self.inbox.messages = messages.filter_map(|message| self.keep_end(message)).collect();
        self.inbox.messages.sort_by_key(|message| message.number);
    }

    /// Looks for messages that came since the last look.
    pub(super) fn look(&mut self) {
        if self.inbox.look.is_some() {
            self.inbox.again = true;
            return;
        }
        let (store, run, seen) = (std::sync::Arc::clone(&self.shared.store), self.row.id, self.row.messages);
        let answer = Box::pin(async move {
            loop {
                match store.inbox(run, seen).await {
                    Err(error) if !matches!(error, StoreError::Closed | StoreError::Unusable(_)) => {
                        tracing::warn!(%run, %error, "inbox not read");
                        tokio::time::sleep(PAUSE).await;
                    }
                    answer => return answer,
                }
            }
        });
        self.inbox.look = Some(Look { begun_at: self.shared.clock.now(), answer });
    }

    /// The look under way was answered. Says so where the run cannot stay in memory.
    pub(super) fn found(&mut self, answer: Result<Vec<Message>, StoreError>) -> Option<Exit> {
        let look = self.inbox.look.take()?;
        let Ok(messages) = answer else { return Some(Exit::Lost) };
        self.row.messages = self.row.messages.max(messages.last().map_or(0, |message| message.number));
        let signals: Vec<Message> = messages.into_iter().filter_map(|message| self.keep_end(message)).collect();
        self.inbox.messages.extend(signals);
        self.inbox.looked_at = self.inbox.looked_at.max(look.begun_at);
        self.receive();
        // What is still waited for is over now, or is looked for once more.
        for (until, slot) in self.inbox.overdue.drain(..) {
            self.steps.set_timer(slot, until);
        }
        self.due();
        if std::mem::take(&mut self.inbox.again) {
            self.look();
        }
        None
    }

    /// Begins a wait for a signal.
    pub(super) fn wait_for(&mut self, slot: SlotId, place: StepId, type_name: String, within: Option<Duration>) {
        let until = within.map(|span| self.shared.clock.now().after(span));
        let sequence = self.next_sequence();
        self.record(Kind::SignalAwaited(stored::SignalAwaited {
            place: Some(place.stored()),
            type_name,
            until_micros: until.map_or(0, Timestamp::as_micros),
        }));
        self.writes.request();
        self.wait_on(slot, place, sequence, until);
    }

    pub(super) fn wait_on(&mut self, slot: SlotId, place: StepId, sequence: u64, until: Option<Timestamp>) {
        let begun_at = self.shared.clock.now();
        self.steps.insert(slot, LiveStep::new(place, begun_at, StepKind::Signal { sequence, until }));
        if let Some(until) = until {
            self.steps.set_timer(slot, until);
        }
    }

    /// Brings every message to the wait that is for it, one by one, as a replay does (semantics.md F2).
    pub(super) fn receive(&mut self) {
        while self.receive_end() {
            self.advance();
        }
        while let Some((at, slot)) = self.next_received() {
            let message = self.inbox.messages.remove(at);
            self.received(slot, message);
            self.advance();
        }
    }

    /// The oldest message that a step waits for, and the step that has waited for it longest.
    fn next_received(&self) -> Option<(usize, SlotId)> {
        if self.inbox.messages.is_empty() {
            return None;
        }
        let wanted = |message: &Message| {
            let mut waiting = self.steps.iter();
            waiting.find(|(_, step)| waits_for(step, &message.name)).map(|(slot, _)| slot)
        };
        self.inbox.messages.iter().enumerate().find_map(|(at, message)| Some((at, wanted(message)?)))
    }

    fn received(&mut self, slot: SlotId, message: Message) {
        let Message { number, payload, .. } = message;
        self.inbox.takes.push(number);
        let result = Some(stored::step_settled::Result::Response(payload.clone()));
        self.finish_wait(slot, number, result, Ok(payload));
    }

    /// A child run ended.
    pub(super) fn ended_child(&mut self, slot: SlotId, number: u64, result: Result<Bytes, Failure>) {
        let Some(step) = self.steps.get(slot) else { return };
        let result = result.map_err(|failure| failure.at(step.place.step_ref()));
        self.inbox.takes.push(number);
        let stored = match &result {
            Ok(output) => stored::step_settled::Result::Response(output.clone()),
            Err(failure) => stored::step_settled::Result::Failure(store_failure(failure)),
        };
        self.finish_wait(slot, number, Some(stored), result);
    }

    /// The time of a wait has passed: it is over, unless its message may have come in time.
    pub(super) fn overdue(&mut self, slot: SlotId, until: Timestamp) {
        if self.inbox.looked_at < until {
            self.inbox.overdue.push((until, slot));
            return self.look();
        }
        let Some(step) = self.steps.get(slot) else { return };
        let failure = step.place.expired();
        self.finish_wait(slot, 0, None, Err(failure));
    }

    fn finish_wait(
        &mut self,
        slot: SlotId,
        message: u64,
        stored: Option<stored::step_settled::Result>,
        result: Result<Bytes, Failure>,
    ) {
        let Some(step) = self.steps.remove(slot) else { return };
        let (step, _) = step.reference();
        // A child that failed is over: where it is retried, it is another run.
        let outcome =
            if result.is_err() && message > 0 { stored::Outcome::Refused } else { stored::Outcome::Unspecified };
        self.record(Kind::StepSettled(stored::StepSettled {
            step,
            outcome: outcome.into(),
            message,
            result: stored,
            undelivered: !self.mode.has_code(),
            ..stored::StepSettled::default()
        }));
        if self.mode.has_code() {
            self.scope.deliver(slot, result);
        }
        self.conclude();
    }

    /// Names of the messages that the run waits for.
    pub(super) fn awaited(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .steps
            .values()
            .filter_map(|step| match &step.kind {
                StepKind::Child(child) if child.sequence().is_some() => Some(Message::CHILD_ENDED.to_owned()),
                StepKind::Signal { .. } => Some(step.place.name.clone().into_owned()),
                StepKind::Child(_) | StepKind::Sleep { .. } | StepKind::Call(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn waits_for(step: &LiveStep, name: &str) -> bool {
    matches!(step.kind, StepKind::Signal { .. }) && step.place.name == name
}
