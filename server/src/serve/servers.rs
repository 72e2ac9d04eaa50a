//! The health server and the admin server, each on its own listener with exactly the services that belong there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::engine::Engine;
use engine::time::Clock;
use prost_reflect::DescriptorPool;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_reflection::server::Builder;
use transport::Services;
use transport::channel::ServedTls;

use super::accept;
use super::arrivals::Tcp;
use super::bounds::Bounds;
use super::calls::Door;
use super::listeners::Listeners;
use crate::access::Guard;
use crate::admin;
use crate::admin::Class;
use crate::configuration::{Admin, Health};
use crate::health::Reporter;
use crate::installed;

/// What the names of both versions of reflection begin with.
const REFLECTION: &str = "/grpc.reflection.";

const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Calls in flight on one connection of the health listener.
const HEALTH_STREAMS: u32 = 64;

/// Calls in flight on all of its connections.
const HEALTH_CALLS: usize = 1_024;

/// Bytes of the requests and of the answers of the admin listener that are on their way.
const REQUEST_BYTES: usize = 32 << 20;
const ANSWER_BYTES: usize = 32 << 20;

/// What the admin API shows and steers.
pub(super) struct Shown {
    pub(super) engine: Engine,
    pub(super) services: Arc<Services>,
    pub(super) clock: Clock,
    /// Who may see and steer it.
    pub(super) guard: Guard,
}

/// Both servers.
pub(super) struct Servers {
    pub(super) health_address: SocketAddr,
    pub(super) admin_address: SocketAddr,
    /// Ends streams and waits, so that connections can close.
    closing: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Servers {
    pub(super) fn start(
        listeners: Listeners,
        health: &Health,
        admin: &Admin,
        [health_tls, admin_tls]: [Option<Arc<ServedTls>>; 2],
        shown: Shown,
        reporter: &Arc<Reporter>,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let closing = CancellationToken::new();
        let Listeners { health: health_listener, health_address, admin: admin_listener, admin_address, socket } =
            listeners;

        let mut health_routes = Routes::new(reporter.service(closing.clone()));
        if health.reflection {
            health_routes = with_reflection(health_routes, &[HEALTH_SERVICE])?;
        }
        let mut admin_routes =
            admin::routes(shown.engine, shown.services, shown.clock, admin.max_message_bytes as usize, closing.clone());
        if admin.reflection {
            admin_routes = with_reflection(admin_routes, &admin::SERVICES)?;
        }
        let door = |bounds, routes, class, guard| Door::new(bounds, routes, class, guard, closing.clone());
        let health_door = Arc::new(door(health_bounds(health), health_routes, health_class, None));
        let admin_door = Arc::new(door(admin_bounds(admin), admin_routes, admin::class, Some(shown.guard)));
        let mut tasks = vec![
            tokio::spawn(accept::serve(Tcp::new(health_listener, health_tls), health_door, closing.clone())),
            tokio::spawn(accept::serve(Tcp::new(admin_listener, admin_tls), Arc::clone(&admin_door), closing.clone())),
        ];
        if let Some(socket) = socket {
            tasks.push(tokio::spawn(accept::serve(socket, admin_door, closing.clone())));
        }
        Ok(Self { health_address, admin_address, closing, tasks })
    }

    /// Closes both servers. Connections that take longer are cut, and the answer is true.
    pub(super) async fn join(self, within: Duration) -> bool {
        self.closing.cancel();
        let deadline = Instant::now() + within;
        let mut late = false;
        for mut task in self.tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                late = true;
            }
        }
        late
    }
}

/// Adds reflection, v1 and v1alpha, that names these services and itself.
fn with_reflection(routes: Routes, services: &[&str]) -> Result<Routes, tonic_reflection::server::Error> {
    // Not only the admin API: a client that reads a run wants to read what is packed in it.
    let contracts = installed::pool().map(DescriptorPool::encode_to_vec).unwrap_or_default();
    let builder = || {
        let own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(&contracts)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        services.iter().copied().chain(own).fold(builder, Builder::with_service_name)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

/// A Watch and a talk with reflection answer with a stream.
fn health_class(path: &str) -> Class {
    if path.ends_with("/Watch") || path.starts_with(REFLECTION) { Class::Watch } else { Class::Other }
}

/// Probes are small, and come again.
fn health_bounds(health: &Health) -> Bounds {
    Bounds {
        connections: health.max_connections as usize,
        streams: HEALTH_STREAMS,
        calls: HEALTH_CALLS,
        watches: HEALTH_CALLS / 2,
        reads: HEALTH_CALLS,
        request_bytes: 1 << 20,
        answer_bytes: 1 << 20,
        cuts_calls: true,
    }
}

fn admin_bounds(admin: &Admin) -> Bounds {
    let most = admin.max_message_bytes as usize;
    Bounds {
        connections: admin.max_connections as usize,
        streams: admin.max_streams,
        calls: admin.max_calls as usize,
        watches: admin.max_watches as usize,
        reads: admin.max_reads as usize,
        // A message of the largest size always finds room once those before it have gone.
        request_bytes: REQUEST_BYTES.max(2 * most),
        answer_bytes: ANSWER_BYTES,
        cuts_calls: false,
    }
}
