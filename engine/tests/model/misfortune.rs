//! What becomes of calls that do not simply work: they are not sent, refused, slow or lost, and what was lost may be refused
//! the next time.

use std::time::Duration;

use engine::Code as Status;
use engine::testing::{Reply, World};

use crate::messages::{Cancel, Charge, Look, Pay, Put, Recall, Refund};
use crate::program::Random;
use crate::simulate::Simulation;

/// How attempts are lost in this seed: shares of those that act at that moment, and later; the others never act.
#[derive(Clone, Copy)]
pub(crate) struct Lost {
    acted: u64,
    later: u64,
}

impl Simulation {
    /// Lets services fail for their next calls.
    pub(crate) fn misbehave(&mut self, world: &World) {
        if !self.faults {
            return;
        }
        let rate = self.random.pick(&[5, 25, 60]);
        // Where all is about effects in doubt, there are many.
        let (rate, rare) = if self.settles { (60, 60) } else { (rate, rate / 2) };
        let services = world.services();
        let (random, lost) = (&mut self.random, self.lost);
        services.script::<Look>(replies(random, lost, rate, REFUSALS));
        services.script::<Put>(replies(random, lost, rate, REFUSALS));
        services.script::<Pay>(replies(random, lost, rate, REFUSALS));
        services.script::<Charge>(replies(random, lost, rare, REFUSALS));
        // That there is nothing to take back is for the ledger to say.
        services.script::<Cancel>(replies(random, lost, rate, &REFUSALS[1..]));
        services.script::<Recall>(replies(random, lost, rate, &REFUSALS[1..]));
        services.script::<Refund>(replies(random, lost, rare, &REFUSALS[1..]));
        if self.random.percent(10) {
            // Undos fail for good, until somebody mends the service.
            services.always::<Cancel>(Some(Reply::Refuse(Status::PermissionDenied)));
        }
    }
}

/// Codes by which a service says that it did nothing.
const REFUSALS: &[Status] = &[
    Status::NotFound,
    Status::AlreadyExists,
    Status::FailedPrecondition,
    Status::PermissionDenied,
    Status::Unauthenticated,
    Status::Aborted,
];

fn replies(random: &mut Random, lost: Lost, rate: u64, refusals: &[Status]) -> Vec<Reply> {
    let plain = Reply::Slow(Duration::ZERO);
    let mut replies = Vec::new();
    for _ in 0..4 + random.below(30) {
        if !random.percent(rate) {
            replies.push(plain.clone());
        } else if random.percent(if lost.is_late() { 50 } else { 25 }) {
            // The answer of one attempt is lost, and the next one is refused.
            replies.push(lost.next(random));
            replies.push(Reply::Refuse(random.pick(refusals)));
        } else {
            replies.push(match random.below(6) {
                0 => Reply::NotSent,
                1 => Reply::Refuse(random.pick(refusals)),
                2 | 3 => lost.next(random),
                4 => Reply::Slow(Duration::from_millis(random.pick(&[10, 700, 3_000, 29_000, 40_000]))),
                _ if lost.is_late() => Reply::Slow(Duration::from_secs(29)),
                _ => Reply::Hang,
            });
        }
    }
    replies
}

impl Lost {
    /// Attempts act, and mostly when no one waits for them any more.
    pub(crate) const LATE: Self = Self { acted: 15, later: 46 };

    fn is_late(self) -> bool {
        self.later > 45
    }

    pub(crate) fn new(random: &mut Random) -> Self {
        let (acted, later) = random.pick(&[(25, 25), (25, 25), (80, 10), (10, 45)]);
        Self { acted, later }
    }

    /// An attempt of which the caller cannot know whether it acts.
    fn next(self, random: &mut Random) -> Reply {
        let code = random.pick(&[Status::Unavailable, Status::Internal]);
        match random.below(100) {
            share if share < self.acted => Reply::ActAndBreak(code),
            share if share < self.acted + self.later => {
                Reply::ActLater(code, Duration::from_millis(random.pick(&[1, 400, 3_000, 60_000])))
            }
            _ => Reply::BreakFirst(code),
        }
    }
}
