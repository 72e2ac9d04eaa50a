//! The health server and the admin server, each on its own listener with exactly the services that belong there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clients::transport::Services;
use engine::engine::Engine;
use engine::time::Clock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_reflection::server::Builder;
use tracing::error;

use super::listeners::{Listeners, connections};
use crate::admin;
use crate::configuration::{Admin, Health};
use crate::health::Reporter;

const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Calls in flight on one connection of the health listener.
const HEALTH_STREAMS: u32 = 64;

/// How often a silent connection is asked whether its peer still lives, and how long the answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What the admin API shows and steers.
pub(super) struct Shown {
    pub(super) engine: Engine,
    pub(super) services: Arc<Services>,
    pub(super) clock: Clock,
}

/// Both servers.
pub(super) struct Servers {
    pub(super) health_address: SocketAddr,
    pub(super) admin_address: SocketAddr,
    /// Ends streams and waits, so that connections can close.
    closing: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Servers {
    pub(super) fn start(
        listeners: Listeners,
        health: &Health,
        admin: &Admin,
        shown: Shown,
        reporter: &Arc<Reporter>,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let closing = CancellationToken::new();
        let Listeners { health: health_socket, health_address, admin: admin_socket, admin_address } = listeners;

        let mut health_routes = Routes::new(reporter.service(closing.clone()));
        if health.reflection {
            health_routes = with_reflection(health_routes, &[HEALTH_SERVICE])?;
        }
        let mut admin_routes =
            admin::routes(shown.engine, shown.services, shown.clock, admin.max_message_bytes as usize, closing.clone());
        if admin.reflection {
            admin_routes = with_reflection(admin_routes, &admin::SERVICES)?;
        }
        let tasks = [
            spawn("health", health_socket, health_routes, health.max_connections, HEALTH_STREAMS, closing.clone()),
            spawn("admin", admin_socket, admin_routes, admin.max_connections, admin.max_streams, closing.clone()),
        ];
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
    let builder = || {
        let own = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(clients::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET);
        services.iter().copied().chain(own).fold(builder, Builder::with_service_name)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

fn spawn(
    name: &'static str,
    socket: TcpListener,
    routes: Routes,
    max_connections: u32,
    max_streams: u32,
    closing: CancellationToken,
) -> JoinHandle<()> {
    let server = Server::builder()
        .max_concurrent_streams(max_streams)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .add_routes(routes.prepare());
    tokio::spawn(async move {
        let incoming = connections(socket, max_connections);
        let served = server.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await;
        if let Err(error) = served {
            error!(listener = name, %error, "server failed");
        }
    })
}
