//! A long log that an earlier owner left, moved into the database beside the thread that writes.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::files::StoreFiles;

/// The thread that moves it.
pub(super) struct LogBackfill(JoinHandle<()>);

impl LogBackfill {
    pub(super) fn start(files: Arc<StoreFiles>) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name("store-backfill".to_owned());
        let thread = thread.spawn(move || {
            if let Err(error) = files.backfill() {
                tracing::warn!(%error, "the log of an earlier owner cannot be moved into the database yet");
            }
        })?;
        Ok(Self(thread))
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    pub(super) fn wait(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread that moves the log into the database panicked");
        }
    }
}
