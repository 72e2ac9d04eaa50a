//! Counts what is logged.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// Messages that were logged, each with how often.
pub(crate) struct Told {
    messages: Messages,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Messages(Arc<Mutex<HashMap<String, usize>>>);

impl Told {
    /// Counts what this thread logs from here on.
    pub(crate) fn by_this_thread() -> Self {
        let messages = Messages::default();
        let guard = tracing::subscriber::set_default(messages.clone());
        Self { messages, _guard: guard }
    }

    /// How often this message was logged.
    pub(crate) fn of(&self, message: &str) -> usize {
        let messages = self.messages.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.get(message).copied().unwrap_or_default()
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl Subscriber for Messages {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(message.0).or_default() += 1;
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
