//! The lease of this replica: what it holds for as long as the database has heard of it (semantics.md O1).
//!
//! A lease is one life. It is held until some time before its end, counted on this machine's own clock from when the last
//! heartbeat that was answered was *sent*. Once it is over, it never comes back: the replica takes another one, with another id.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use engine::claim::Claim;
use engine::store::StoreError;
use engine::time::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::again::again;
use crate::clock::{DatabaseClock, Said, boot_clock};
use crate::home::mark;
use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::session::{Fault, Session, now, params};
use crate::workflow_numbers::Workflows;
use crate::{buckets, claims};

/// A heartbeat that failed is tried again so soon.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Leases that ended so long ago, and hold nothing, are forgotten.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// One life of this replica.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: Uuid,
    /// Until when it is held, in microseconds of the boot clock; zero once it is lost.
    until: AtomicU64,
}

impl Lease {
    fn new(until: Duration) -> Self {
        Self { id: Uuid::new_v4(), until: AtomicU64::new(micros(until)) }
    }

    /// A heartbeat was answered. One that is lost stays so.
    fn extend(&self, until: Duration) {
        let later = |held: u64| (held != 0).then(|| held.max(micros(until)));
        // Where it is lost nothing is changed.
        let _lost = self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    pub(crate) fn lose(&self) {
        self.until.store(0, Ordering::Release);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Claim for Lease {
    fn is_held(&self) -> bool {
        micros(boot_clock()) < self.until.load(Ordering::Acquire)
    }
}

/// The lease of the present, and what is held with it.
#[derive(Debug)]
pub(crate) struct Leases {
    current: RwLock<Arc<Lease>>,
    buckets: RwLock<Arc<[i16]>>,
    losses: watch::Sender<u64>,
}

impl Leases {
    fn new(first: Arc<Lease>) -> Self {
        Self { current: RwLock::new(first), buckets: RwLock::new(Arc::default()), losses: watch::Sender::new(0) }
    }

    pub(crate) fn current(&self) -> Arc<Lease> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn buckets(&self) -> Arc<[i16]> {
        Arc::clone(&self.buckets.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    fn hold(&self, buckets: Vec<i16>) {
        *self.buckets.write().unwrap_or_else(PoisonError::into_inner) = buckets.into();
    }

    /// Drops everything when the lease ends before a heartbeat was answered, and works until `stop` is cancelled.
    ///
    /// It waits for no statement, so calls in flight are aborted before any other replica can take their runs (semantics.md E3).
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut losses = self.losses();
        loop {
            let lease = self.current();
            let rest = match lease.until.load(Ordering::Acquire) {
                0 => None,
                until => Some(Duration::from_micros(until).saturating_sub(boot_clock())),
            };
            if rest.is_some_and(|rest| rest.is_zero()) {
                tracing::error!("the lease of this replica is over: the database was not reached in time");
                self.lose();
                continue;
            }
            let wait = async {
                match rest {
                    Some(rest) => tokio::time::sleep(rest).await,
                    // Another lease begins with a loss, too.
                    None => drop(losses.changed().await),
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// What is held is held no more.
    pub(crate) fn lose(&self) {
        self.current().lose();
        self.losses.send_modify(|count| *count += 1);
    }

    fn replace(&self, lease: Arc<Lease>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = lease;
        // What was claimed since the loss was claimed by the lease before.
        self.losses.send_modify(|count| *count += 1);
    }
}

/// Keeps the lease alive, on a connection of its own, so that no other statement stands before a heartbeat.
pub(crate) struct Heartbeat {
    options: PostgresOptions,
    connection: Option<Connection>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) clock: Arc<DatabaseClock>,
}

impl Heartbeat {
    /// Takes the first lease.
    pub(crate) async fn begin(options: PostgresOptions, connection: Connection) -> Result<Self, Fault> {
        let sent = boot_clock();
        let lease = Arc::new(Lease::new(sent + held_for(&options)));
        let beat = session(&connection, &lease);
        let said = again(|| register(&beat, &options)).await?;
        let leases = Leases::new(Arc::clone(&lease));
        // What replicas held that are gone can be claimed from the start.
        again(|| claims::bury(&beat)).await?;
        leases.hold(again(|| buckets::balance(&beat)).await?);
        let clock = Arc::new(DatabaseClock::new(said));
        Ok(Self { options, connection: Some(connection), leases: Arc::new(leases), clock })
    }

    /// Sends heartbeats until `stop` is cancelled.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        let between = self.options.lease / 3;
        let mut pause = between;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let beat = tokio::time::timeout(between, self.beat());
            let Some(beaten) = stop.run_until_cancelled(beat).await else { return };
            let failed = match beaten {
                Ok(Ok(())) => None,
                Ok(Err(fault)) => Some(fault.to_string()),
                Err(_) => Some(format!("no answer after {between:?}")),
            };
            let held = self.leases.current().is_held();
            pause = if failed.is_none() { between } else { AFTER_FAILURE };
            if let Some(error) = failed {
                self.connection = None;
                tracing::warn!(error, held, "heartbeat failed, it is tried again");
            }
        }
    }

    async fn beat(&mut self) -> Result<(), Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.options).await?,
        };
        let lease = self.leases.current();
        let sent = boot_clock();
        let lost = lease.until.load(Ordering::Acquire) == 0;
        let beat = session(&connection, &lease);
        let extended = if lost || !lease.is_held() { None } else { again(|| extend(&beat, &self.options)).await? };
        match extended {
            Some(said) => {
                lease.extend(sent + held_for(&self.options));
                self.clock.hear(said);
            }
            None => self.begin_again(&connection, &lease).await?,
        }
        let lease = self.leases.current();
        let session = session(&connection, &lease);
        again(|| claims::bury(&session)).await?;
        self.leases.hold(again(|| buckets::balance(&session)).await?);
        again(|| forget(&session)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// The lease is over: another life begins. The old one is said to be over, so that its runs can be claimed.
    async fn begin_again(&self, connection: &Connection, old: &Lease) -> Result<(), Fault> {
        if old.until.load(Ordering::Acquire) != 0 {
            tracing::error!("the lease of this replica is over: others may hold its runs");
            self.leases.lose();
        }
        let before = session(connection, old);
        again(|| end(&before)).await?;
        let sent = boot_clock();
        let next = Arc::new(Lease::new(sent + held_for(&self.options)));
        let beat = session(connection, &next);
        self.clock.hear(again(|| register(&beat, &self.options)).await?);
        self.leases.replace(next);
        Ok(())
    }
}

/// For how long a lease is held after a heartbeat.
fn held_for(options: &PostgresOptions) -> Duration {
    options.lease.saturating_sub(options.margin)
}

static NO_WORKFLOWS: std::sync::LazyLock<Workflows> = std::sync::LazyLock::new(Workflows::default);

fn session<'c>(connection: &'c Connection, lease: &Lease) -> Session<'c> {
    Session::new(connection.client(), Timestamp::default(), lease.id, Arc::default(), &NO_WORKFLOWS)
}

fn length(options: &PostgresOptions) -> i64 {
    i64::try_from(options.lease.as_micros()).unwrap_or(i64::MAX)
}

/// Takes a lease, unless the store is the target of a copy that is not whole. Answers with the time of the database.
async fn register(session: &Session<'_>, options: &PostgresOptions) -> Result<Said, Fault> {
    let asked = boot_clock();
    let registered = session
        .row(
            concat!(
                "WITH usable AS (SELECT one FROM store WHERE one = 1 AND NOT copying AND home = ",
                mark!(),
                " FOR SHARE)
                 INSERT INTO leases (id, began_at, expires_at) SELECT $1, ",
                now!(),
                ", ",
                now!(),
                " + $2 FROM usable RETURNING began_at"
            ),
            params![session.owner, length(options)],
        )
        .await?;
    let Some(row) = registered else {
        let why = "a copy of another store into it is not whole, so repeat `store copy` until it is; or the database was restored \
                   while this replica ran, so stop all replicas and start one with --adopt";
        return Err(StoreError::Unusable(why.to_owned()).into());
    };
    Ok(Said { asked, answered: boot_clock(), time: Timestamp::from_micros(row.try_get(0)?) })
}

/// Renews the lease, if it lives on. Answers with the time of the database then.
async fn extend(session: &Session<'_>, options: &PostgresOptions) -> Result<Option<Said>, Fault> {
    let asked = boot_clock();
    let row = session
        .row(
            concat!(
                "UPDATE leases SET expires_at = ",
                now!(),
                " + $2 WHERE id = $1 AND dead_at IS NULL AND expires_at > ",
                now!(),
                " RETURNING expires_at"
            ),
            params![session.owner, length(options)],
        )
        .await?;
    let answered = boot_clock();
    let said = |row: tokio_postgres::Row| -> Result<Said, Fault> {
        Ok(Said { asked, answered, time: Timestamp::from_micros(row.try_get::<_, i64>(0)? - length(options)) })
    };
    row.map(said).transpose()
}

/// Ends the lease of this replica and lets its buckets go: others need not wait until it expires.
pub(crate) async fn end(session: &Session<'_>) -> Result<(), Fault> {
    session
        .execute(
            concat!("UPDATE leases SET dead_at = ", now!(), " WHERE id = $1 AND dead_at IS NULL"),
            params![session.owner],
        )
        .await?;
    session.execute("UPDATE buckets SET owner = NULL WHERE owner = $1", params![session.owner]).await.map(drop)
}

async fn forget(session: &Session<'_>) -> Result<(), Fault> {
    session
        .execute(
            concat!(
                "DELETE FROM leases WHERE dead_at < ",
                now!(),
                " - $1 AND NOT EXISTS (SELECT 1 FROM live WHERE live.owner = leases.id)"
            ),
            params![i64::try_from(FORGOTTEN.as_micros()).unwrap_or(i64::MAX)],
        )
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_was_lost_is_not_held_again() {
        let lease = Lease::new(boot_clock() + Duration::from_secs(60));
        assert!(lease.is_held());
        lease.lose();
        lease.extend(boot_clock() + Duration::from_secs(60));
        assert!(!lease.is_held());
    }

    #[tokio::test]
    async fn a_lease_that_ends_is_lost_although_no_heartbeat_says_so() {
        let lease = Arc::new(Lease::new(boot_clock() + Duration::from_millis(20)));
        let leases = Arc::new(Leases::new(Arc::clone(&lease)));
        let (mut losses, stop) = (leases.losses(), CancellationToken::new());
        let watch = tokio::spawn(Arc::clone(&leases).watch(stop.clone()));
        losses.changed().await.expect("a loss");
        lease.extend(boot_clock() + Duration::from_secs(60));
        assert!(!lease.is_held());

        let next = Arc::new(Lease::new(boot_clock() + Duration::from_millis(20)));
        leases.replace(next);
        for _ in ["it begins", "it ends"] {
            losses.changed().await.expect("a loss");
        }
        assert!(!leases.current().is_held());
        stop.cancel();
        watch.await.expect("it stops");
    }

    #[test]
    fn a_lease_ends_by_itself_and_an_older_heartbeat_does_not_shorten_it() {
        assert!(!Lease::new(boot_clock()).is_held());
        let lease = Lease::new(boot_clock() + Duration::from_secs(60));
        lease.extend(Duration::from_micros(1));
        assert!(lease.is_held());
    }
}
