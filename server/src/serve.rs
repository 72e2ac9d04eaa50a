//! The composition root: what `orchestrator serve` puts together, in which order, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::RandomSource;
use engine::engine::{Drained, Engine, Parts};
use engine::safeguards::Safeguards;
use engine::store::{Schedule, Store};
use engine::time::Clock;
use engine::transport::Transport;
use engine::workflow::Registry;
use tracing::{info, warn};
use transport::Services;
use transport::channel::ServedTls;

use crate::access::Guard;
use crate::app::App;
use crate::background_services::{self, Supervisor};
use crate::configuration::{Configuration, Loaded, Own, Schedules, access, broken_inputs, unknown_workflows};
use crate::contract_rules::ContractRules;
use crate::health::Reporter;
use crate::{installed, logs, services};

mod accept;
mod arrivals;
mod bodies;
mod bounds;
mod calls;
mod grants;
mod listeners;
mod peer;
mod probes;
mod reflection;
mod servers;
mod signals;
mod store;

pub use listeners::{HealthListener, Listeners};
pub use probes::Probes;
use servers::{Servers, Shown};

/// How long background services and open connections may take to end once the engine has drained.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the orchestrator did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("cannot listen on {} (admin.socket): {source}", .path.display())]
    Socket { path: std::path::PathBuf, source: std::io::Error },
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Store(#[from] engine::store::StoreError),
    #[error(transparent)]
    Services(#[from] services::TransportError),
    #[error(transparent)]
    Workflows(#[from] engine::workflow::NameTaken),
    #[error(transparent)]
    Contracts(#[from] installed::ContractsError),
    #[error("{0}")]
    Access(String),
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves until a signal asks for the end, then drains. A store that is a copy is served where it is `adopt`ed.
pub async fn serve(app: &App, loaded: Loaded, adopt: bool) -> Result<Drained, ServeError> {
    app.install()?;
    let workflows = (app.workflows)(&loaded.own)?;
    let Loaded { configuration, warnings, own, sources, .. } = loaded;
    logs::start(&configuration.log);
    for warning in warnings {
        warn!(warning, "configuration");
    }
    let mut signals = signals::Signals::install().map_err(ServeError::Signals)?;
    let (health, listeners) = Listeners::bind(&configuration).await?;
    let probes = Probes::start(health, &configuration.health)?;
    let (store, clock) = tokio::select! {
        opened = store::open(&configuration.store, adopt) => opened?,
        signal = signals.first() => {
            info!(signal, "shutdown before the store was open");
            return Ok(Drained::default());
        }
    };
    let breadcrumbs = store::breadcrumbs(&configuration.store);
    let services = Arc::new(services::transport(&configuration.services)?);
    let transport = Arc::clone(&services);

    let safeguards = Safeguards { breadcrumbs: breadcrumbs.clone(), ..Safeguards::default() };
    let assembly =
        Assembly { configuration, own, probes, listeners, store, safeguards, transport, services, workflows, clock };
    let running = Running::start(assembly)?;
    let _following = grants::follow(sources, running.guard().clone());
    let signal = signals.first().await;
    info!(signal, "shutdown begins");
    signals.exit_on_second(move || breadcrumbs.iter().for_each(|breadcrumbs| breadcrumbs.close()));
    Ok(running.drain().await)
}

/// Everything that is given to the orchestrator; tests give other stores, transports and workflows.
pub struct Assembly {
    pub configuration: Configuration,
    /// Settings of the team's own.
    pub own: Own,
    pub probes: Probes,
    pub listeners: Listeners,
    pub store: Arc<dyn Store>,
    pub safeguards: Safeguards,
    pub transport: Arc<dyn Transport>,
    /// The services that are shown; in production those that the transport calls.
    pub services: Arc<Services>,
    pub workflows: Registry,
    pub clock: Clock,
}

/// An orchestrator that serves.
pub struct Running {
    engine: Engine,
    reporter: Arc<Reporter>,
    background: Supervisor,
    servers: Servers,
    guard: Guard,
    certificates: Vec<(&'static str, Arc<ServedTls>)>,
    grace: Duration,
}

impl Running {
    /// Starts the engine, the background services and the servers.
    pub fn start(assembly: Assembly) -> Result<Self, ServeError> {
        let Assembly { configuration, own, probes, listeners, store, safeguards, transport, services, .. } = assembly;
        let (mut workflows, clock) = (assembly.workflows, assembly.clock);
        if let Some(rules) = installed::rules() {
            rules.left_to_services().iter().for_each(|warning| warn!(warning, "contracts"));
            workflows.check_by(Arc::<ContractRules>::clone(rules));
        }
        let inputs = broken_inputs(&configuration, &workflows);
        for warning in unknown_workflows(&configuration, &workflows).into_iter().chain(inputs) {
            warn!(warning, "configuration");
        }
        let schedules = schedules(configuration.schedules, &workflows);
        let parts = Parts {
            store,
            transport,
            workflows,
            clock: clock.clone(),
            random: RandomSource::system(),
            limits: (&configuration.limits).into(),
            retention: (&configuration.retention).into(),
        };
        let engine = Engine::with_safeguards(parts, safeguards);

        let reporter = Arc::clone(&probes.reporter);
        let (health, admin) = (probes.address, listeners.admin_address);
        let admin_settings = &configuration.admin;
        let guard = access::guard(&configuration.admin).map_err(ServeError::Access)?;
        let shown = Shown { engine: engine.clone(), services: Arc::clone(&services), clock, guard: guard.clone() };
        let admin_tls = admin_settings.tls.open();
        let admin_tls = admin_tls.map_err(|mistake| ServeError::Access(format!("admin.tls.{mistake}")))?;
        let certificates = [("health", probes.tls.clone()), ("admin", admin_tls.clone())];
        let certificates: Vec<_> = certificates.into_iter().filter_map(|(of, tls)| Some((of, tls?))).collect();
        let servers = Servers::start(probes, listeners, admin_settings, admin_tls, shown)?;
        let parts = background_services::Parts {
            engine: engine.clone(),
            schedules,
            services,
            reporter: reporter.clone(),
            health_interval: configuration.health.interval,
            guard: guard.clone(),
            certificates: certificates.clone(),
            own,
        };
        let of_team = installed::app().map_or::<fn(&_) -> Vec<_>, _>(|_| Vec::new(), |app| app.background_services);
        let background = Supervisor::start(background_services::all(parts, of_team));
        reporter.set_engine_running();
        info!(%health, %admin, "orchestrator serves");
        Ok(Self { engine, reporter, background, servers, guard, certificates, grace: configuration.drain.grace })
    }

    /// Where the admin API listens; tells the port where the configuration left it open.
    pub fn admin_address(&self) -> SocketAddr {
        self.servers.admin_address
    }

    /// Where health listens.
    pub fn health_address(&self) -> SocketAddr {
        self.servers.health_address
    }

    /// The certificates of the listeners that encrypt.
    pub fn certificates(&self) -> &[(&'static str, Arc<ServedTls>)] {
        &self.certificates
    }

    /// Who may use the admin API.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The engine, for those who start runs in process.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Not ready, no new claims, steps in flight finish or are given up, all of it durable, listeners closed.
    pub async fn drain(self) -> Drained {
        self.reporter.set_draining();
        self.background.stop();
        let drained = self.engine.drain(self.grace).await;
        info!(settled = drained.settled, given_up = drained.given_up, "engine drained");
        let (late_services, late_servers) =
            tokio::join!(self.background.join(JOIN_TIMEOUT), self.servers.join(JOIN_TIMEOUT));
        for service in late_services {
            warn!(service, "background service did not stop in time");
        }
        if late_servers {
            warn!("connections did not close in time");
        }
        self.guard.write_refusals(&self.engine).await;
        if let Err(error) = self.engine.close_store().await {
            warn!(%error, "store did not close");
        }
        info!("shutdown complete");
        drained
    }
}

/// The schedules as the engine takes them. One of a workflow that is not there is left out, not fatal: a replica of
/// another version may know it.
fn schedules(configured: Schedules, workflows: &Registry) -> Vec<Schedule> {
    let enabled = configured.0.into_iter().filter(|(_, schedule)| schedule.enabled);
    enabled
        .filter(|(_, schedule)| workflows.get(&schedule.workflow).is_some())
        .filter_map(|(name, schedule)| match schedule.spec() {
            Ok(spec) => {
                let policy = schedule.policy();
                Some(Schedule { policy, ..Schedule::new(name, schedule.workflow, spec) })
            }
            // The configuration was checked before.
            Err((key, problem)) => {
                warn!(schedule = name, key, problem, "schedule cannot be kept");
                None
            }
        })
        .collect()
}
