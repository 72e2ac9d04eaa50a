//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process immediately.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// What a shell reports for a process that a signal ended, less the signal's number.
const KILLED: i32 = 128;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on, neither signal ends the process by itself.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them; returns its name.
    pub(super) async fn first(&mut self) -> &'static str {
        self.next().await.0
    }

    /// Ends the process at the next one, after this.
    pub(super) fn exit_on_second(mut self, last: impl FnOnce() + Send + 'static) {
        tokio::spawn(async move {
            let (name, kind) = self.next().await;
            warn!(signal = name, "second signal, exit immediately");
            last();
            std::process::exit(KILLED + kind.as_raw_value());
        });
    }

    async fn next(&mut self) -> (&'static str, SignalKind) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", SignalKind::terminate()),
            _ = self.interrupt.recv() => ("SIGINT", SignalKind::interrupt()),
        }
    }
}
