//! Hints that a run was changed, so that its replica looks immediately. Nothing depends on them: without them the next look finds it.
//!
//! They are sent by `NOTIFY` on a connection of their own, outside of writing transactions, and many at the same time are one
//! statement. Where notifications do not come, as through a pooler in transaction mode, none are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::lease::Leases;
use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::session::Fault;

/// Hints wait so long for others.
const GATHER: Duration = Duration::from_millis(3);
/// Runs of one statement.
const TOGETHER: usize = 1_000;
/// A notification of its own comes within this, or none come.
const COMES: Duration = Duration::from_secs(5);
/// After a failure, and after it was found that none come.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const NONE_COME: Duration = Duration::from_secs(600);

/// Sends and hears hints.
#[derive(Debug)]
pub(crate) struct Hints {
    changed: mpsc::UnboundedSender<Uuid>,
    heard: Notify,
    /// Whether notifications come at the moment.
    come: AtomicBool,
}

impl Hints {
    /// Begins to hear and to send, unless that is switched off.
    pub(crate) fn begin(options: &PostgresOptions, leases: &Arc<Leases>, stop: &CancellationToken) -> Arc<Self> {
        let (changed, queue) = mpsc::unbounded_channel();
        let hints = Arc::new(Self { changed, heard: Notify::new(), come: AtomicBool::new(false) });
        if options.hints {
            let (hearing, leases, options) = (Arc::clone(&hints), Arc::clone(leases), options.clone());
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(hearing.keep(options, leases, queue)).await });
        }
        hints
    }

    /// Somebody changed these runs, and that is durable.
    pub(crate) fn tell(&self, runs: impl IntoIterator<Item = Uuid>) {
        for run in runs {
            // Where they are switched off no one takes them.
            let _ = self.changed.send(run);
        }
    }

    /// Waits for the next hint, and a little longer for those that follow it. Says whether one came.
    ///
    /// While notifications come, looks find little that was not told, so they are twice as rare.
    pub(crate) async fn heard_within(&self, within: Duration) -> bool {
        let within = if self.come.load(Ordering::Relaxed) { within * 2 } else { within };
        let came = tokio::time::timeout(within, self.heard.notified()).await.is_ok();
        if came {
            tokio::time::sleep(GATHER).await;
        }
        came
    }

    async fn keep(&self, options: PostgresOptions, leases: Arc<Leases>, mut queue: mpsc::UnboundedReceiver<Uuid>) {
        let mut told = false;
        loop {
            let ended = self.once(&options, &leases, &mut queue).await;
            self.come.store(false, Ordering::Relaxed);
            let pause = match ended {
                Ok(()) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!(
                            "notifications do not come, as through a pooler; replicas find changes by looking"
                        );
                    }
                    NONE_COME
                }
                Err(error) => {
                    tracing::debug!(%error, "no hints from other replicas for now");
                    AFTER_FAILURE
                }
            };
            // What is not sent meanwhile is found by looking.
            let gone = tokio::time::sleep(pause);
            tokio::pin!(gone);
            loop {
                tokio::select! {
                    () = &mut gone => break,
                    Some(_) = queue.recv() => {}
                }
            }
        }
    }

    /// Hears and sends over one connection. Returns if no notifications come over it.
    async fn once(
        &self,
        options: &PostgresOptions,
        leases: &Leases,
        queue: &mut mpsc::UnboundedReceiver<Uuid>,
    ) -> Result<(), Fault> {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let connection = Connection::hearing(options, sender).await?;
        connection.script("LISTEN orchestrator_hints").await?;
        let probe = Uuid::new_v4().to_string();
        // From another connection: through a pooler, what one connection says to itself comes, and what others say does not.
        Connection::open(options).await?.script(&format!("NOTIFY orchestrator_hints, '{probe}'")).await?;
        let comes = async { while heard.recv().await.is_some_and(|payload| payload != probe) {} };
        if tokio::time::timeout(COMES, comes).await.is_err() {
            connection.script("UNLISTEN orchestrator_hints").await?;
            return Ok(());
        }
        tracing::debug!("hints from other replicas come");
        self.come.store(true, Ordering::Relaxed);
        loop {
            tokio::select! {
                payload = heard.recv() => match payload {
                    Some(payload) if payload == leases.current().id.to_string() => self.heard.notify_one(),
                    Some(_) => {}
                    None => return Err(Fault::NoConnection("the connection for hints has ended".to_owned())),
                },
                Some(run) = queue.recv() => {
                    tokio::time::sleep(GATHER).await;
                    let mut runs = vec![run];
                    while runs.len() < TOGETHER && let Ok(run) = queue.try_recv() {
                        runs.push(run);
                    }
                    send(&connection, runs, leases.current().id).await?;
                }
            }
        }
    }
}

/// Tells the replicas that hold these runs, or that hold their buckets if no one holds the runs.
async fn send(connection: &Connection, mut runs: Vec<Uuid>, own: Uuid) -> Result<(), Fault> {
    runs.sort_unstable();
    runs.dedup();
    let statement = "SELECT pg_notify('orchestrator_hints', holder::text)
                     FROM (SELECT DISTINCT coalesce(live.owner, buckets.owner) AS holder
                           FROM live JOIN buckets ON buckets.number = live.bucket WHERE live.id = ANY($1)) AS holders
                     WHERE holder IS NOT NULL AND holder <> $2";
    connection.client().query_typed(statement, &[(&runs, Type::UUID_ARRAY), (&own, Type::UUID)]).await?;
    Ok(())
}
