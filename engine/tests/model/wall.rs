//! The wall clock of the machine is set, in both directions (semantics.md C1, C2).

use std::time::Duration;

use engine::testing::World;

use crate::program::Random;

/// How far the clock is set. A day forward and back is longer than everything that a run waits for.
const STEPS: &[Duration] = &[Duration::from_secs(1), Duration::from_secs(90), Duration::from_secs(7_200)];

/// What was done to the wall clock of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    /// Whether it is set at all in this seed.
    moves: bool,
    /// Whether it was set: times of a journal cannot be compared from then on.
    pub(crate) was_set: bool,
    set_back: bool,
    set_forward: bool,
    /// Whether a replica began after it was set back: how old what is stored really is cannot be known.
    pub(crate) hides_age: bool,
    /// Whether a replica began after it was set forward: attempts that may still act look as if they were over.
    pub(crate) hurries: bool,
}

impl Wall {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            moves: random.percent(20),
            was_set: false,
            set_back: false,
            set_forward: false,
            hides_age: false,
            hurries: false,
        }
    }

    /// Sets the clock, in seeds that do.
    pub(crate) fn set(&mut self, random: &mut Random, world: &World) {
        if !self.moves {
            return;
        }
        self.was_set = true;
        let step = random.pick(STEPS);
        if random.percent(50) {
            self.set_back = true;
            world.clocks().set_back(step);
        } else {
            self.set_forward = true;
            world.clocks().set_forward(step);
        }
    }

    /// Another replica begins.
    pub(crate) fn restarted(&mut self) {
        self.hides_age |= self.set_back;
        self.hurries |= self.set_forward;
    }
}
