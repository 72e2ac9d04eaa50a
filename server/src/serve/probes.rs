//! The health server, which answers from before the store is open until the end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use transport::channel::ServedTls;

use super::ServeError;
use super::accept;
use super::arrivals::Tcp;
use super::bounds::Bounds;
use super::calls::Door;
use super::listeners::HealthListener;
use super::reflection::{self, with_reflection};
use crate::admin::Class;
use crate::configuration::{AdminTls, Health};
use crate::health::Reporter;

const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Calls in flight on one connection.
const STREAMS: u32 = 64;

/// Calls in flight on all connections.
const CALLS: usize = 1_024;

/// The health server. It says what the reporter knows.
pub struct Probes {
    pub(super) reporter: Arc<Reporter>,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<ServedTls>>,
    /// Ends streams and waits, so that connections can close.
    pub(super) closing: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Probes {
    /// Answers from now on: live, and not ready.
    pub fn start(listener: HealthListener, health: &Health) -> Result<Self, ServeError> {
        let tls = AdminTls::from(&health.tls).open();
        let tls = tls.map_err(|mistake| ServeError::Access(format!("health.tls.{mistake}")))?;
        let HealthListener { listener, address } = listener;
        let (reporter, closing) = (Arc::new(Reporter::default()), CancellationToken::new());
        let mut routes = Routes::new(reporter.service(closing.clone()));
        if health.reflection {
            routes = with_reflection(routes, &[HEALTH_SERVICE])?;
        }
        let door = Arc::new(Door::new(bounds(health), routes, class, None, closing.clone()));
        let task = tokio::spawn(accept::serve(Tcp::new(listener, tls.clone()), door, closing.clone()));
        Ok(Self { reporter, address, tls, closing, task })
    }
}

/// A Watch and a talk with reflection answer with a stream.
fn class(path: &str) -> Class {
    if path.ends_with("/Watch") || path.starts_with(reflection::PATH) { Class::Watch } else { Class::Other }
}

/// Probes are small, and come again.
fn bounds(health: &Health) -> Bounds {
    Bounds {
        connections: health.max_connections as usize,
        streams: STREAMS,
        calls: CALLS,
        watches: CALLS / 2,
        reads: CALLS,
        request_bytes: 1 << 20,
        answer_bytes: 1 << 20,
        cuts_calls: true,
    }
}
