//! `pick_first` (gRFC A61, A62): connects to the first endpoint that answers, when a call wants it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep, sleep_until};

use super::attend::attend;
use crate::channel::back_off::BackOff;
use crate::channel::connection::Line;
use crate::channel::endpoint::Endpoint;
use crate::channel::pool::{Phase, Pool};

/// An address that does not answer within this time holds up the next one no longer (RFC 8305).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects each time that a call wants it, for as long as it is asked to.
pub(crate) async fn connect_first(pool: Arc<Pool>, shuffle: bool) {
    let mut back_off = BackOff::of(pool.config());
    loop {
        pool.wanted().await;
        let found = first(&pool, shuffle).await;
        pool.answered();
        match found {
            Some((endpoint, line)) => {
                let opened = Instant::now();
                back_off.reset();
                attend(&pool, &endpoint, line, None).await;
                // One that ends its connections as soon as they are open is not asked for the next without a pause.
                sleep_until(opened + pool.config().back_off).await;
            }
            None => {
                let pause = back_off.next();
                let until = Some(Instant::now() + pause);
                tracing::warn!(service = pool.name(), target = %pool.target(), ?pause, "no endpoint can be connected");
                pool.enter_all(|| Phase::Failed(until));
                sleep(pause).await;
                pool.enter_all(|| Phase::Idle);
            }
        }
    }
}

/// The first endpoint that answers. The next one is tried where one has failed, or is slow; the others are let go.
async fn first(pool: &Pool, shuffle: bool) -> Option<(Arc<Endpoint>, Line)> {
    let mut left = pool.endpoints();
    if shuffle {
        left.shuffle(&mut rand::rng());
    }
    let mut left = left.into_iter();
    let mut tried = FuturesUnordered::new();
    loop {
        if let Some(endpoint) = left.next() {
            pool.enter(&endpoint, Phase::Connecting);
            tried.push(async move {
                let connected = endpoint.connect(pool.config()).await;
                (endpoint, connected)
            });
        }
        let more = left.len() > 0;
        tokio::select! {
            answered = tried.next() => match answered? {
                (endpoint, Ok(line)) => return Some((endpoint, line)),
                (endpoint, Err(lost)) => {
                    // It counts as being tried until all of them have been.
                    pool.fail(&endpoint, Phase::Connecting, lost.to_string());
                }
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}
