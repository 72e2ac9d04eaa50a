//! What the engine stands on, as configured.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::breadcrumbs::Breadcrumbs;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{Store, StoreError};
use engine::time::Clock;
use postgres_store::{Postgres, PostgresOptions};
use tracing::{info, warn};

use super::ServeError;
use crate::configuration::{self, StoreKind};

/// Between two tries to reach a database that is away: the first pause, which doubles, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The trail beside the store. Where there can be none, no death of the process counts against a run.
pub(super) fn breadcrumbs(configured: &configuration::Store) -> Option<Arc<Breadcrumbs>> {
    let mut path = configured.path.as_os_str().to_owned();
    path.push(".trail");
    let begun = match configured.kind {
        // The store's own lock keeps others away.
        StoreKind::Sqlite => Breadcrumbs::begin(Path::new(&path)),
        StoreKind::Postgres => Breadcrumbs::begin_beside_others(Path::new(&path)),
    };
    match begun {
        Ok(breadcrumbs) => Some(Arc::new(breadcrumbs)),
        Err(error) => {
            warn!(%error, path = %Path::new(&path).display(), "no trail of what runs, a run that kills the process is not found");
            None
        }
    }
}

/// The store, and the clock that all who use it go by.
pub(super) async fn open(
    configured: &configuration::Store,
    adopt: bool,
) -> Result<(Arc<dyn Store>, Clock), ServeError> {
    match configured.kind {
        StoreKind::Sqlite => {
            let mut options = SqliteOptions::default();
            options.commit_delay = Some(configured.commit_delay).filter(|delay| !delay.is_zero());
            options.adopt = adopt;
            let clock = Clock::system();
            Ok((Arc::new(Sqlite::open(&configured.path, options, clock.clone())?), clock))
        }
        StoreKind::Postgres => {
            // Checked when the configuration was loaded.
            let mut options = configured.database().map_err(|error| StoreError::Unusable(error.to_string()))?;
            options.adopt = adopt;
            let store = reached(options).await?;
            let clock = store.clock();
            Ok((Arc::new(store), clock))
        }
    }
}

/// Opens the database, and tries again for as long as waiting may mend what is wrong.
async fn reached(options: PostgresOptions) -> Result<Postgres, StoreError> {
    let (mut pause, mut told) = (FIRST_PAUSE, String::new());
    loop {
        match Postgres::open(options.clone()).await {
            Ok(store) => {
                if !told.is_empty() {
                    info!("store is reachable");
                }
                return Ok(store);
            }
            Err(StoreError::Unavailable(why)) => {
                // Each reason is told once, however long it lasts.
                if why != told {
                    warn!(error = why, "store is not reachable, the start waits for it");
                    told = why;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}
