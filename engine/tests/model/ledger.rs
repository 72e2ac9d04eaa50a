//! What the services of the model did: which effects stand, and which were taken back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::testing::Arrival;
use engine::{Code, Failure};
use tokio::time::Instant;
use uuid::Uuid;

/// One effect, by its key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effect {
    /// Times that it was had, after deduplication.
    pub(crate) acted: u32,
    /// Times that it was taken back.
    pub(crate) undone: u32,
    pub(crate) stands: bool,
    /// When it was had first.
    pub(crate) first: Option<Instant>,
}

/// What a request says it is, whichever key it has: a method and the text of its request.
pub(crate) type Identity = (&'static str, String);

/// Kept by the services, read by those who check them. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    effects: BTreeMap<Uuid, Effect>,
    /// The keys under which each identity acted, in order.
    identities: BTreeMap<Identity, Vec<Uuid>>,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn act(&self, arrival: &Arrival, text: &str) {
        self.book().act(arrival, text);
    }

    /// Takes back the effect that has this key; what does not stand is not found.
    pub(crate) fn take_back(&self, arrival: &Arrival, text: &str) -> Result<(), Failure> {
        let mut book = self.book();
        let key = Uuid::try_parse(text).ok();
        let standing = key.and_then(|key| book.effects.get_mut(&key)).filter(|effect| effect.stands);
        let Some(effect) = standing else { return Err(Failure::new(Code::NotFound, "there is nothing to take back")) };
        effect.stands = false;
        effect.undone += 1;
        book.act(arrival, text);
        Ok(())
    }

    pub(crate) fn of(&self, key: Uuid) -> Effect {
        self.book().effects.get(&key).copied().unwrap_or_default()
    }

    /// The keys under which each identity acted, in order.
    pub(crate) fn identities(&self) -> BTreeMap<Identity, Vec<Uuid>> {
        self.book().identities.clone()
    }
}

impl Book {
    fn act(&mut self, arrival: &Arrival, text: &str) {
        let Some(key) = arrival.key else { return };
        let effect = self.effects.entry(key).or_default();
        effect.acted += 1;
        effect.stands = true;
        effect.first.get_or_insert(arrival.at);
        let keys = self.identities.entry((arrival.method, text.to_owned())).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
}
