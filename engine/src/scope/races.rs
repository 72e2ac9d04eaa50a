//! Lets go of steps that lost a race: code waits for them no more.

use super::{Intent, Lookup, Scope, Slot};
use crate::history::JournaledKind;
use crate::scope::Fault;
use crate::step_id::{BranchId, SlotId, StepId};

impl Scope {
    /// Lets go of a single step; its branch may continue without it.
    pub(crate) fn let_go(&self, branch: BranchId, slot: SlotId, gone: &mut Vec<SlotId>) {
        let mut inner = self.lock();
        if matches!(inner.slots[slot as usize], Slot::Taken) {
            return;
        }
        inner.slots[slot as usize] = Slot::Taken;
        let branch = &mut inner.branches[branch as usize];
        branch.in_flight = branch.in_flight.saturating_sub(1);
        // What was asked for in this very poll is not begun at all, as it is not when this is replayed.
        inner.intents.retain(|intent| intent.begins() != Some(slot));
        gone.push(slot);
    }

    /// Lets go of everything that waits on a branch and on those that leave it.
    pub(crate) fn let_go_branch(&self, branch: BranchId, gone: &mut Vec<SlotId>) {
        let waiting: Vec<(BranchId, SlotId)> = {
            let inner = self.lock();
            let below = |mut owner: BranchId| loop {
                if owner == branch {
                    break true;
                }
                let parent = inner.branches[owner as usize].parent;
                if parent == owner {
                    break false;
                }
                owner = parent;
            };
            let slots = (0..).zip(&inner.slots).zip(&inner.owners);
            slots
                .filter(|((_, slot), owner)| matches!(slot, Slot::Waiting(_)) && below(**owner))
                .map(|((slot, _), owner)| (*owner, slot))
                .collect()
        };
        for (owner, slot) in waiting {
            self.let_go(owner, slot, gone);
        }
    }

    /// Who won a race, where the journal says so.
    pub(crate) fn winner(&self, branch: BranchId, position: u32) -> Option<u32> {
        match self.lock().branches[branch as usize].past.get(&position)?.kind {
            JournaledKind::Race { winner } => Some(winner),
            _ => None,
        }
    }

    /// Code came to the end of a race: writes down who won, or sees that it is who the journal says. False where the
    /// run cannot continue.
    pub(crate) fn raced(&self, branch: BranchId, place: StepId, winner: u32, losers: Vec<SlotId>) -> bool {
        let Some((_, reached)) = self.reach(branch, &place) else { return false };
        match reached {
            Lookup::New => {
                self.note(Intent::RaceDecided { place, winner, losers, journaled: false });
            }
            Lookup::Journaled(past) if past.kind == (JournaledKind::Race { winner }) => {
                self.lock().intents.push(Intent::RaceDecided { place, winner, losers, journaled: true });
            }
            Lookup::Journaled(past) => {
                let code = format!("{place} as a race that step {winner} won");
                self.fail(Fault::Mismatch { journal: format!("{place} as {}", past.kind), code });
                return false;
            }
        }
        true
    }
}
