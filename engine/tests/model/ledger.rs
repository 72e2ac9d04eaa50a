//! What the services of the model did: which effects stand, and which were taken back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::testing::Arrival;
use engine::{Code, Failure};
use uuid::Uuid;

/// One effect, by its key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effect {
    /// Times that it was had, after deduplication.
    pub(crate) acted: u32,
    /// Times that it was taken back.
    pub(crate) undone: u32,
    pub(crate) stands: bool,
}

/// Kept by the services, read by those who check them. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<BTreeMap<Uuid, Effect>>>);

impl Ledger {
    pub(crate) fn act(&self, arrival: &Arrival) {
        let Some(key) = arrival.key else { return };
        let mut effects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let effect = effects.entry(key).or_default();
        effect.acted += 1;
        effect.stands = true;
    }

    /// Takes back the effect that has this key; what does not stand is not found.
    pub(crate) fn take_back(&self, arrival: &Arrival, text: &str) -> Result<(), Failure> {
        let mut effects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = Uuid::try_parse(text).ok().and_then(|key| effects.get_mut(&key)).filter(|effect| effect.stands);
        let Some(effect) = standing else { return Err(Failure::new(Code::NotFound, "there is nothing to take back")) };
        effect.stands = false;
        effect.undone += 1;
        drop(effects);
        self.act(arrival);
        Ok(())
    }

    pub(crate) fn of(&self, key: Uuid) -> Effect {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied().unwrap_or_default()
    }
}
