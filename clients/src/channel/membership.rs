//! The task of a channel: keeps its endpoints those that the name of the service has, and their connections those that the
//! balancing policy wants.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::back_off::BackOff;
use super::balance::{BalancingPolicy, connect_first, keep_connected};
use super::dial::Peer;
use super::pool::Pool;
use super::resolver::Name;
use super::target::Place;

/// Goes on until it is dropped; the connections are closed then, as soon as the calls over them have ended.
pub(crate) async fn follow(pool: Arc<Pool>) {
    let mut members = Members::of(Arc::clone(&pool));
    match pool.target().place() {
        Place::Peers(peers) => {
            members.replace(peers.clone());
            pending().await
        }
        Place::Name { host, port } => {
            let resolution = &pool.config().resolution;
            let (mut name, mut back_off) = (Name::new(host, *port, resolution), BackOff::of(pool.config()));
            loop {
                let asked = Instant::now();
                let pause = match name.addresses().await {
                    Ok(peers) => {
                        members.replace(peers);
                        back_off.reset();
                        resolution.interval
                    }
                    Err(lost) => {
                        let pause = back_off.next().min(resolution.interval);
                        pool.unresolved(&lost, pause);
                        pause
                    }
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = pool.outdated() => sleep_until(asked + resolution.min_interval).await,
                }
            }
        }
    }
}

/// The tasks that connect.
struct Members {
    pool: Arc<Pool>,
    tasks: Tasks,
}

enum Tasks {
    /// One for all endpoints.
    First { shuffle: bool, task: Option<AbortOnDropHandle<()>> },
    /// One for each.
    Every(HashMap<Peer, AbortOnDropHandle<()>>),
}

impl Members {
    fn of(pool: Arc<Pool>) -> Self {
        let tasks = match pool.balancing().policy {
            BalancingPolicy::PickFirst { shuffle } => Tasks::First { shuffle, task: None },
            BalancingPolicy::RoundRobin | BalancingPolicy::LeastRequest { .. } => Tasks::Every(HashMap::new()),
        };
        Self { pool, tasks }
    }

    fn replace(&mut self, peers: Vec<Peer>) {
        let change = self.pool.replace(peers);
        if change.added.is_empty() && change.removed.is_empty() {
            return;
        }
        for (what, endpoints) in [("came", &change.added), ("went", &change.removed)] {
            for endpoint in endpoints {
                tracing::debug!(service = endpoint.service(), address = %endpoint.peer(), "endpoint {what}");
            }
        }
        match &mut self.tasks {
            Tasks::First { shuffle, task } => {
                // The connection stays where its endpoint does; all else begins anew with the new list.
                if task.is_none() || !self.pool.has_ready() {
                    self.pool.renew();
                    let connect = connect_first(Arc::clone(&self.pool), *shuffle);
                    *task = Some(AbortOnDropHandle::new(tokio::spawn(connect)));
                }
            }
            Tasks::Every(tasks) => {
                for endpoint in change.removed {
                    tasks.remove(endpoint.peer());
                }
                for endpoint in change.added {
                    let keep = keep_connected(Arc::clone(&self.pool), Arc::clone(&endpoint));
                    tasks.insert(endpoint.peer().clone(), AbortOnDropHandle::new(tokio::spawn(keep)));
                }
            }
        }
    }
}
