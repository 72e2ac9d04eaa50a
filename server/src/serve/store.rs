//! What the engine stands on, as configured.

use std::path::Path;
use std::sync::Arc;

use engine::breadcrumbs::Breadcrumbs;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{Store, StoreError};
use engine::time::Clock;
use postgres_store::Postgres;
use tracing::warn;

use super::ServeError;
use crate::configuration::{self, StoreKind};

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

pub(super) async fn open(
    configured: &configuration::Store,
    adopt: bool,
    clock: Clock,
) -> Result<Arc<dyn Store>, ServeError> {
    match configured.kind {
        StoreKind::Sqlite => {
            let mut options = SqliteOptions::default();
            options.commit_delay = Some(configured.commit_delay).filter(|delay| !delay.is_zero());
            options.adopt = adopt;
            Ok(Arc::new(Sqlite::open(&configured.path, options, clock)?))
        }
        StoreKind::Postgres => {
            // Checked when the configuration was loaded.
            let mut options = configured.database().map_err(|error| StoreError::Unusable(error.to_string()))?;
            options.adopt = adopt;
            Ok(Arc::new(Postgres::open(options).await?))
        }
    }
}
