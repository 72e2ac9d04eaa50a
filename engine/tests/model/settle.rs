//! How operators lead every run to its end, once services answer again.

use std::time::Duration;

use engine::State;
use engine::testing::World;

use crate::operators::{Act, Order, all_runs, decision};
use crate::simulate::Simulation;

/// Rounds after which every run must have ended,
const ROUNDS: u32 = 40;
/// and how long the first ones take; later ones take longer.
const ROUND: Duration = Duration::from_secs(600);

impl Simulation {
    /// Pauses are ended, decisions made, blocked runs retried, until every run has ended.
    pub(crate) async fn lead_to_the_end(&mut self, world: &World) {
        world.services().calm();
        for round in 1..=ROUNDS {
            let mut asked = Vec::new();
            for row in all_runs(world).await.into_iter().filter(|row| !row.status.state.is_end()) {
                let act = match row.status.state {
                    State::Paused => Act::Resume,
                    State::NeedsDecision => {
                        let detail = world.detail(row.id).await;
                        match decision(&mut self.random, world, &self.ledger, &detail).await {
                            Some(decision) => Act::Resolve(decision),
                            None => continue,
                        }
                    }
                    // No one can take back by hand what the services say nothing of.
                    State::Blocked if row.status.reason.contains("made from its response, which is not known") => {
                        Act::Terminate
                    }
                    // No code fits what two different programs did.
                    State::Blocked if row.status.reason.starts_with("JOURNAL_MISMATCH") && round > 6 => Act::Terminate,
                    State::Blocked if row.status.reason.starts_with("JOURNAL_MISMATCH") && round > 3 => Act::Cancel,
                    State::Blocked => Act::Retry(None),
                    _ => continue,
                };
                asked.push(self.orders.len());
                self.orders.push(Order::new(&mut self.random, row.id, act));
            }
            self.ask_all(world, asked).await;
            if self.floods(world, ROUND * round).await {
                return;
            }
            self.look(world).await;
            if all_runs(world).await.iter().all(|row| row.status.state.is_end() && !row.owned)
                && world.engine().in_flight() == 0
            {
                return;
            }
        }
        for row in all_runs(world).await.into_iter().filter(|row| !row.status.state.is_end()) {
            let detail = world.detail(row.id).await;
            self.problems.push(format!(
                "no operator led {} to its end: {} ({}), {:#?}",
                row.id, row.status.state, row.status.reason, detail.steps
            ));
        }
    }
}
