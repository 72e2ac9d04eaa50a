//! How operations are done: on a connection of the pool, within a time, and again where they met another transaction.

use std::sync::Arc;
use std::time::Duration;

use engine::store::StoreError;
use engine::time::Timestamp;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::SimpleQueryMessage;

use crate::again::again;
use crate::lease::Leases;
use crate::options::PostgresOptions;
use crate::pool::{Connections, Object};
use crate::session::{Fault, Session, now};
use crate::workflow_numbers::{Named, Workflows};
use crate::workflows;

/// The code of an operation within a transaction. It checks first, and may be done again.
pub(crate) type Operation<I, O> = for<'a> fn(&'a Session<'a>, &'a I) -> BoxFuture<'a, Result<O, Fault>>;

/// What operations need.
pub(crate) struct Work {
    pub(crate) options: PostgresOptions,
    pub(crate) connections: Connections,
    pub(crate) leases: Arc<Leases>,
    pub(crate) workflows: Workflows,
}

/// A connection in use. One that is not given back whole is closed: something may be under way on it.
struct InUse(Option<Object>);

impl InUse {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Work {
    fn session<'c>(&'c self, client: &'c Object, now: Timestamp) -> Session<'c> {
        Session::new(client, now, self.leases.current().id, self.leases.buckets(), &self.workflows)
    }

    /// Does it within the time that it may take; its statements are transactions of their own.
    pub(crate) async fn statement<I, O>(&self, input: &I, operation: Operation<I, O>) -> Result<O, Fault> {
        let done = async {
            let connection = InUse(Some(self.connections.get().await?));
            let Some(client) = connection.0.as_ref() else { return Err(Fault::Again) };
            let output = operation(&self.session(client, Timestamp::default()), input).await;
            // After an error the server is ready for the next statement, if it is there.
            if !client.is_closed() {
                connection.give_back();
            }
            output
        };
        tokio::time::timeout(self.options.timeout, done).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    /// The same for reads and for what is one statement: made again where it met another transaction.
    pub(crate) async fn repeated<I, O>(&self, input: &I, operation: Operation<I, O>) -> Result<O, Fault> {
        again(|| self.statement(input, operation)).await
    }

    /// Does it in one transaction, made again where it met another one.
    ///
    /// If the answer of the commit is lost, whether it was done is unknown (semantics.md F1).
    pub(crate) async fn transaction<I, O>(&self, input: &I, operation: Operation<I, O>) -> Result<O, StoreError> {
        let attempt = || async {
            let once = tokio::time::timeout(self.options.timeout, self.once(input, operation));
            once.await.unwrap_or_else(|_| Err(self.too_late()))
        };
        again(attempt).await.map_err(Fault::into_answer)
    }

    async fn once<I, O>(&self, input: &I, operation: Operation<I, O>) -> Result<O, Fault> {
        let connection = InUse(Some(self.connections.get().await?));
        let Some(client) = connection.0.as_ref() else { return Err(Fault::Again) };
        let begun = client.simple_query(concat!("BEGIN; SELECT ", now!())).await?;
        let session = self.session(client, began_at(&begun)?);
        match operation(&session, input).await {
            Ok(output) => {
                client.batch_execute("COMMIT").await?;
                connection.give_back();
                Ok(output)
            }
            Err(fault) => {
                if !client.is_closed() {
                    client.batch_execute("ROLLBACK").await?;
                    connection.give_back();
                }
                Err(fault)
            }
        }
    }

    /// How long after its answer was lost a write may still be done: the server ends statements and transactions that take
    /// longer than the timeout, and the rest is for what is on its way.
    pub(crate) fn settles_within(&self) -> Duration {
        self.options.timeout + self.options.margin
    }

    /// Gives numbers to workflows that have none, before a transaction needs them.
    pub(crate) async fn resolve(&self, named: &Vec<Named>) -> Result<(), StoreError> {
        if named.iter().all(|(name, version)| self.workflows.known(name, *version).is_some()) {
            return Ok(());
        }
        let resolved = self.repeated(named, |session, named| workflows::resolve(session, named).boxed());
        resolved.await.map_err(Fault::into_answer)
    }

    fn too_late(&self) -> Fault {
        Fault::Refused(StoreError::Unavailable(format!("no answer after {:?}", self.options.timeout)))
    }
}

/// When the transaction began, by the database's clock.
fn began_at(messages: &[SimpleQueryMessage]) -> Result<Timestamp, Fault> {
    let said = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    let unknown = || StoreError::Unavailable("the database does not say its time".to_owned());
    Ok(Timestamp::from_micros(said.ok_or_else(unknown)?))
}
