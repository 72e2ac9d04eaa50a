//! The task of a channel: keeps its endpoints those that the name of the service has, and their connections those that the
//! balancing policy wants.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::back_off::BackOff;
use super::balance::{connect_first, keep_connected};
use super::balancing::BalancingPolicy;
use super::peer::Peer;
use super::pool::Pool;
use super::resolver::Name;
use super::target::AddressSource;

/// Continues until it is dropped; the connections are closed then, as soon as the calls over them have ended.
pub(crate) async fn follow(pool: Arc<Pool>) {
    let mut members = Members::of(Arc::clone(&pool));
    match pool.target().place() {
        AddressSource::Peers(peers) => {
            members.replace(peers.clone());
            pending().await
        }
        AddressSource::Name { host, port } => {
            let resolution = &pool.config().resolution;
            let (mut name, mut back_off) = (Name::new(host, *port, resolution), BackOff::of(pool.config()));
            loop {
                // Whatever has failed until here is answered by the question that follows.
                let _ = pool.outdated().now_or_never();
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
                // The connection stays where its endpoint does; all else starts again with the new list.
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::channel::balancing::Balancing;
    use crate::channel::pool::Phase;
    use crate::channel::resolver::{Resolution, Resolve};
    use crate::channel::{ChannelConfig, Connectivity};

    /// Leads to one address or nowhere, and notes when it was asked.
    #[derive(Debug)]
    struct Asked {
        since: Instant,
        at: Mutex<Vec<u128>>,
        leads: bool,
    }

    impl Resolve for Asked {
        fn resolve(&self, _host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            self.at.lock().unwrap().push(self.since.elapsed().as_millis());
            let found = if self.leads { Ok(vec![([10, 0, 0, 1], port).into()]) } else { Err(io::Error::other("no")) };
            async { found }.boxed()
        }
    }

    fn following(leads: bool) -> (Arc<Asked>, Arc<Pool>, AbortOnDropHandle<()>) {
        let asked = Arc::new(Asked { since: Instant::now(), at: Mutex::default(), leads });
        let resolution = Resolution { resolver: Arc::clone(&asked) as Arc<dyn Resolve>, ..Resolution::default() };
        let config = ChannelConfig { resolution, ..ChannelConfig::default() };
        let pool = Pool::new("users", "dns:///users:1".parse().unwrap(), config, Balancing::default());
        let pool = Arc::new(pool);
        let task = AbortOnDropHandle::new(tokio::spawn(follow(Arc::clone(&pool))));
        (asked, pool, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_resolved_every_interval_and_soon_after_a_failure() {
        let (asked, pool, _task) = following(true);
        sleep(Duration::from_secs(70)).await;
        assert_eq!(*asked.at.lock().unwrap(), [0, 30_000, 60_000]);
        let endpoint = pool.endpoints().remove(0);
        for _ in 0..3 {
            pool.fail(&endpoint, Phase::Failed(None), String::from("refused"));
            sleep(Duration::from_millis(300)).await;
        }
        sleep(Duration::from_millis(19_100)).await;
        // At once, and the failures that came within the second after that together.
        assert_eq!(asked.at.lock().unwrap()[3..], [70_000, 71_000]);
        assert_eq!(pool.state().endpoints.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_leads_nowhere_is_asked_for_after_pauses_that_grow() {
        let (asked, pool, _task) = following(false);
        sleep(Duration::from_secs(120)).await;
        let at = asked.at.lock().unwrap().clone();
        let pauses: Vec<u128> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((79..=121).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[12..].iter().all(|pause| (7_999..=12_001).contains(pause)), "{pauses:?}");
        assert_eq!(pool.state().connectivity, Connectivity::TransientFailure);
    }
}
