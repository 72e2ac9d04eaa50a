//! Keeps the grants and tokens of the admin API equal to the configuration file, so that one is taken back without a restart.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::access::Guard;
use crate::configuration::{Loaded, Mistakes, Sources, access, load};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// More than a configuration may have.
const MOST_BYTES: u64 = 2 << 20;

/// Follows the file until what this returns is dropped. A file with mistakes changes nothing.
pub(super) fn follow(sources: Sources, guard: Guard) -> Option<AbortOnDropHandle<()>> {
    let path = sources.file.clone().filter(|_| !guard.is_open())?;
    let following = async move {
        let mut before = contents(&path).await;
        loop {
            sleep(INTERVAL).await;
            let now = contents(&path).await;
            if now == before {
                continue;
            }
            before = now;
            let sources = sources.clone();
            match tokio::task::spawn_blocking(move || load(&sources)).await {
                Ok(loaded) => take_over(&guard, loaded),
                // The process ends.
                Err(_) => return,
            }
        }
    };
    Some(AbortOnDropHandle::new(tokio::spawn(following)))
}

fn take_over(guard: &Guard, loaded: Result<Loaded, Mistakes>) {
    match loaded {
        Ok(loaded) => {
            let (tokens, grants) = access::rules(&loaded.configuration.admin);
            if guard.replace(tokens, grants) {
                info!("the grants and tokens of the admin API have changed and are in force");
            }
        }
        Err(mistakes) => {
            warn!(%mistakes, "the configuration has mistakes, the grants and tokens before stay in force");
        }
    }
}

/// What is in the file; none where it cannot be read.
async fn contents(path: &Path) -> Option<Vec<u8>> {
    let path = path.to_owned();
    let read = move || {
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok().map(|_| bytes)
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}
