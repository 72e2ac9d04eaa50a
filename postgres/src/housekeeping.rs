//! Drops what is remembered of requests once it is old enough. Every replica does it: what one drops, another does not find.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::requests;
use crate::work::Work;

/// How often old ones are looked for.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Works until `stop` is cancelled.
pub(crate) async fn keep(work: Arc<Work>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        loop {
            let dropped = work.transaction(&(), |session, ()| requests::drop_old(session).boxed());
            match stop.run_until_cancelled(dropped).await {
                Some(Ok(true)) => {}
                Some(Ok(false)) => break,
                Some(Err(error)) => {
                    tracing::debug!(%error, "old requests are not dropped yet");
                    break;
                }
                None => return,
            }
        }
    }
}
