//! Shares the limits that count over all replicas with the others: asks for places when calls wait, and gives back what is not needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::engine::Engine;
use engine::store::PlaceWish;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use transport::{Services, SharedLimit};

use super::{BackgroundService, ServiceError};

/// Calls that wait for a place have one asked for this often.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// What is not needed is given back this often, a half at a time.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct ShareLimits {
    engine: Engine,
    services: Arc<Services>,
}

impl ShareLimits {
    /// Until the first answer of the store this replica has no place.
    pub(super) fn new(engine: Engine, services: Arc<Services>) -> Self {
        if engine.has_others() {
            take_all(&services);
        }
        Self { engine, services }
    }

    async fn share(&self) -> Result<(), ServiceError> {
        let mut losses = self.engine.losses();
        let mut needs: HashMap<String, Need> = HashMap::new();
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                lost = losses.changed() => {
                    lost?;
                    // The places of the lease before are those of others by now.
                    take_all(&self.services);
                    needs.clear();
                }
            }
            let wishes: Vec<PlaceWish> = self
                .services
                .shared_limits()
                .iter()
                .filter_map(|limit| needs.entry(limit.name.clone()).or_default().wish(limit, Instant::now()))
                .collect();
            if wishes.is_empty() {
                continue;
            }
            let names: Vec<String> = wishes.iter().map(|wish| wish.limit.clone()).collect();
            let life = *losses.borrow();
            match self.engine.share_places(wishes).await {
                Some(Ok(held)) if *losses.borrow() == life => {
                    for (name, held) in names.into_iter().zip(held) {
                        self.services.set_share(&name, held as usize);
                        needs.entry(name).or_default().held = held;
                    }
                }
                // What was held stays held: for as long as the lease lasts no one else has it.
                Some(Err(error)) => tracing::debug!(%error, "places of limits are not shared yet"),
                Some(Ok(_)) | None => {}
            }
        }
    }
}

fn take_all(services: &Services) {
    for limit in services.shared_limits() {
        services.set_share(&limit.name, 0);
    }
}

/// What this replica last needed of one limit.
#[derive(Debug, Default)]
struct Need {
    held: u32,
    wanted: u32,
    asked_at: Option<Instant>,
}

impl Need {
    /// What to ask for, if it is time to ask.
    fn wish(&mut self, limit: &SharedLimit, now: Instant) -> Option<PlaceWish> {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (used, waiting) = (count(limit.in_flight), count(limit.waiting));
        let rests = self.asked_at.is_none_or(|at| now.duration_since(at) >= GIVE_BACK_EVERY);
        if waiting == 0 && !(rests && self.held > 0) {
            return None;
        }
        // A pause between two calls gives up no more than a half.
        let least = if rests { self.wanted / 2 } else { self.wanted };
        self.wanted = used.saturating_add(waiting).max(least).min(count(limit.total));
        self.asked_at = Some(now);
        Some(PlaceWish { limit: limit.name.clone(), total: count(limit.total), used, wanted: self.wanted })
    }
}

impl BackgroundService for ShareLimits {
    fn name(&self) -> &'static str {
        "share-limits"
    }

    fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
        async move {
            if !self.engine.has_others() || self.services.shared_limits().is_empty() {
                stop.cancelled().await;
                return Ok(());
            }
            stop.run_until_cancelled(self.share()).await.unwrap_or(Ok(()))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(in_flight: usize, waiting: usize) -> SharedLimit {
        SharedLimit { name: "ai".to_owned(), total: 8, in_flight, waiting }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_without_need_and_what_is_not_needed_is_given_back_by_halves() {
        let (mut need, mut now) = (Need::default(), Instant::now());
        let mut asked = |need: &mut Need, limit: &SharedLimit, after: Duration| {
            now += after;
            need.wish(limit, now).map(|wish| (wish.used, wish.wanted))
        };
        assert_eq!(asked(&mut need, &limit(0, 0), ASK_EVERY), None);
        assert_eq!(asked(&mut need, &limit(0, 20), ASK_EVERY), Some((0, 8)));
        need.held = 8;
        assert_eq!(asked(&mut need, &limit(8, 0), ASK_EVERY), None);
        assert_eq!(asked(&mut need, &limit(1, 0), GIVE_BACK_EVERY), Some((1, 4)));
        assert_eq!(asked(&mut need, &limit(1, 0), ASK_EVERY), None);
        let mut wanted = Vec::new();
        for _ in 0..4 {
            wanted.extend(asked(&mut need, &limit(0, 0), GIVE_BACK_EVERY).map(|(_, wanted)| wanted));
        }
        assert_eq!(wanted, [2, 1, 0, 0]);
        need.held = 0;
        assert_eq!(asked(&mut need, &limit(0, 0), GIVE_BACK_EVERY), None);
    }
}
