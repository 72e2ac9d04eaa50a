//! What the engine stands on, as configured.

use std::sync::Arc;

use engine::store::Store;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::time::Clock;

use super::ServeError;
use crate::configuration;

pub(super) fn open(configured: &configuration::Store) -> Result<Arc<dyn Store>, ServeError> {
    let mut options = SqliteOptions::default();
    options.commit_delay = Some(configured.commit_delay).filter(|delay| !delay.is_zero());
    Ok(Arc::new(Sqlite::open(&configured.path, options, Clock::system())?))
}
