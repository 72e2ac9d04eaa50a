//! The admin server, on its own listener with exactly the services that belong there, and the end of both servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::engine::Engine;
use engine::time::Clock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use transport::Services;
use transport::channel::ServedTls;

use super::accept;
use super::arrivals::Tcp;
use super::bounds::Bounds;
use super::calls::Door;
use super::listeners::Listeners;
use super::probes::Probes;
use super::reflection::with_reflection;
use crate::access::Guard;
use crate::admin;
use crate::configuration::Admin;

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
        probes: Probes,
        listeners: Listeners,
        admin: &Admin,
        admin_tls: Option<Arc<ServedTls>>,
        shown: Shown,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let Probes { closing, task: probing, address: health_address, .. } = probes;
        let Listeners { admin: admin_listener, admin_address, socket } = listeners;
        let mut admin_routes =
            admin::routes(shown.engine, shown.services, shown.clock, admin.max_message_bytes as usize, closing.clone());
        if admin.reflection {
            admin_routes = with_reflection(admin_routes, &admin::SERVICES)?;
        }
        let door = Door::new(admin_bounds(admin), admin_routes, admin::class, Some(shown.guard), closing.clone());
        let door = Arc::new(door);
        let serving = accept::serve(Tcp::new(admin_listener, admin_tls), Arc::clone(&door), closing.clone());
        let mut tasks = vec![probing, tokio::spawn(serving)];
        if let Some(socket) = socket {
            tasks.push(tokio::spawn(accept::serve(socket, door, closing.clone())));
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
