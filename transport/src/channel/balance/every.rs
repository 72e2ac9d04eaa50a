//! Keeps an endpoint connected, as `round_robin` and `least_request_experimental` want it of all of them.

use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};

use super::attend::attend;
use crate::channel::back_off::BackOff;
use crate::channel::endpoint::Endpoint;
use crate::channel::pool::{Phase, Pool};

/// Connects, again and again, for as long as it is asked to.
pub(crate) async fn keep_connected(pool: Arc<Pool>, endpoint: Arc<Endpoint>) {
    let mut back_off = BackOff::of(pool.config());
    loop {
        pool.enter(&endpoint, Phase::Connecting);
        match endpoint.connect(pool.config()).await {
            Ok(line) => {
                let opened = Instant::now();
                attend(&pool, &endpoint, line, pool.balancing().health_check.as_deref()).await;
                back_off.reset();
                // One that ends its connections as soon as they are open is not asked for the next without a pause.
                sleep_until(opened + pool.config().back_off).await;
            }
            Err(lost) => {
                let pause = back_off.next();
                pool.fail(&endpoint, Phase::Failed(Some(Instant::now() + pause)), lost.to_string());
                sleep(pause).await;
            }
        }
    }
}
