//! All services together, and how they are watched and steered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::control::Control;
use crate::faults::FaultBook;
use crate::feed::Feed;
use crate::front::{Desk, Front};
use crate::ledger::Ledger;
use crate::life;
use crate::services::{self, Services};
use crate::settings::{Listen, Settings};

/// Name of the control service among the addresses.
const CONTROL: &str = "control";

/// A world that could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that is taken, or not ours.
    #[error("{service} cannot listen on {address}: {reason}")]
    Listen {
        /// Short name of the service.
        service: String,
        /// Where it should have.
        address: SocketAddr,
        /// Why not.
        reason: std::io::Error,
    },
    /// A time scale that makes no time.
    #[error("the time scale must be a positive number, was {0}")]
    TimeScale(f64),
}

/// The running services. They stop when it is dropped.
pub struct World {
    addresses: BTreeMap<&'static str, SocketAddr>,
    desk: Arc<Desk>,
    services: Arc<Services>,
    feed: Feed,
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl World {
    /// Starts all services; they are reachable when it returns.
    ///
    /// # Errors
    /// If a port is taken or the settings make no sense.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        if !(settings.time_scale.is_finite() && settings.time_scale > 0.0) {
            return Err(StartError::TimeScale(settings.time_scale));
        }
        let settings = Arc::new(settings);
        let faults = FaultBook::new(settings.faults.clone(), settings.seed);
        let mut world = Self {
            addresses: BTreeMap::new(),
            desk: Arc::new(Desk::new(faults, settings.dedupe_horizon)),
            services: Arc::new(Services::new(Arc::clone(&settings))),
            feed: settings.feed.clone(),
            stop: watch::channel(()).0,
            tasks: JoinSet::new(),
        };
        match settings.listen {
            Listen::PortEach { ip, base } => {
                for (offset, name) in (0..).zip(services::NAMES) {
                    let address = SocketAddr::new(ip, port(base, offset));
                    world.listen(&[name], address).await?;
                }
                let offset = u16::try_from(services::NAMES.len()).unwrap_or(u16::MAX);
                world.listen_for_control(SocketAddr::new(ip, port(base, offset))).await?;
            }
            Listen::OnePort(address) => {
                world.listen(&services::NAMES, address).await?;
                world.listen_for_control(SocketAddr::new(address.ip(), port(address.port(), 1))).await?;
            }
        }
        if let Some(beat) = settings.life {
            let life = life::go_on(Arc::clone(&world.services), settings, beat);
            let stopped = world.stopped();
            world.tasks.spawn(async move {
                tokio::select! {
                    () = life => (),
                    () = stopped => (),
                }
            });
        }
        Ok(world)
    }

    async fn listen(&mut self, names: &[&'static str], address: SocketAddr) -> Result<(), StartError> {
        let (incoming, address) = bind(&names.join("+"), address).await?;
        let routes = names.iter().fold(Routes::default(), |routes, name| self.services.add_to(routes, name));
        let front = Front::new(routes, Arc::clone(&self.desk));
        let stopped = self.stopped();
        self.tasks.spawn(async move {
            // Fails only if the listener does, which then shows as a service that is down.
            let _ = Server::builder().serve_with_incoming_shutdown(front, incoming, stopped).await;
        });
        self.addresses.extend(names.iter().map(|name| (*name, address)));
        Ok(())
    }

    async fn listen_for_control(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let (incoming, address) = bind(CONTROL, address).await?;
        let control = Control::server(Arc::clone(&self.desk), Arc::clone(&self.services));
        let stopped = self.stopped();
        self.tasks.spawn(async move {
            let server = Server::builder().add_service(control);
            let _ = server.serve_with_incoming_shutdown(incoming, stopped).await;
        });
        self.addresses.insert(CONTROL, address);
        Ok(())
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // An error says that the world was dropped, which is the signal.
            let _ = stop.changed().await;
        }
    }

    /// Where a service listens: `users`, `notifications`, `journal`, `emotions`, `meditation`, `teachers`, `audio`,
    /// `ai`, or `control`.
    pub fn address(&self, service: &str) -> Option<SocketAddr> {
        self.addresses.get(service).copied()
    }

    /// Where the domain services listen, by short name; control is not one of them.
    pub fn services(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        services::NAMES.into_iter().filter_map(|name| Some((name, *self.addresses.get(name)?)))
    }

    /// What was counted.
    pub fn ledger(&self) -> &Ledger {
        &self.desk.ledger
    }

    /// The faults, which can be changed while calls are in flight.
    pub fn faults(&self) -> &FaultBook {
        &self.desk.faults
    }

    /// The last things that happened, in words.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Back to the seeded data, with an empty ledger, no remembered keys and the faults of the start.
    pub fn reset(&self) {
        self.services.reset();
        self.desk.clear();
    }

    /// Tells every connection that it ends, lets calls finish, and closes.
    pub async fn stop(mut self) {
        self.stop.send_replace(());
        while self.tasks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

fn port(base: u16, offset: u16) -> u16 {
    if base == 0 { 0 } else { base.saturating_add(offset) }
}

async fn bind(service: &str, address: SocketAddr) -> Result<(TcpIncoming, SocketAddr), StartError> {
    let failed = |reason| StartError::Listen { service: service.to_owned(), address, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((TcpIncoming::from(listener).with_nodelay(Some(true)), address))
}
