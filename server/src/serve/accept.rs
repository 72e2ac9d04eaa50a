//! Accepts the connections of a listener, bounds them in number and time, and ends them.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::arrivals::{Arrivals, Bytes, Greeting};
use super::bounds::{
    Bounds, HEADERS, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, MAKES_ROOM, PREFACE, SEND_BUFFER, WINDOW, WINDOW_OF_CALL,
};
use super::calls::{Calls, Door};
use super::peer::{Peer, Verdict, Wire};
use crate::access::Shown;

/// Pause after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a connection is looked at, and how often while it ends or another waits for its place.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_CLOSER: Duration = Duration::from_millis(20);

/// Serves until `closing` is cancelled, and then until the last connection has ended.
pub(super) async fn serve<A: Arrivals>(arrivals: A, door: Arc<Door>, closing: CancellationToken) {
    let greet = Arc::new(arrivals.greet());
    let mut listener = Listening { open: Open::default(), tasks: JoinSet::new(), door, closing: closing.clone() };
    while let Some(accepted) = closing.run_until_cancelled(arrivals.next()).await {
        match accepted {
            Ok(stream) => {
                if !listener.make_room().await {
                    break;
                }
                listener.admit(greet(stream));
            }
            Err(error) => {
                warn!(%error, "connection not accepted");
                listener.open.evict(listener.door.bounds.cuts_calls);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(arrivals);
    while listener.tasks.join_next().await.is_some() {}
}

struct Listening {
    open: Open,
    tasks: JoinSet<()>,
    door: Arc<Door>,
    closing: CancellationToken,
}

impl Listening {
    /// Waits until there is room for one more. The connection that was idle for longest makes it. False at the end.
    async fn make_room(&mut self) -> bool {
        loop {
            while self.tasks.try_join_next().is_some() {}
            if self.tasks.len() < self.door.bounds.connections {
                return true;
            }
            self.open.evict(self.door.bounds.cuts_calls);
            tokio::select! {
                () = self.closing.cancelled() => return false,
                _ = self.tasks.join_next() => {}
                () = sleep(LOOK_CLOSER) => {}
            }
        }
    }

    fn admit(&mut self, greeting: Greeting) {
        let peer = Arc::new(Peer::default());
        self.open.add(&peer);
        let (door, closing) = (Arc::clone(&self.door), self.closing.clone());
        self.tasks.spawn(async move {
            let greeted = tokio::select! {
                greeted = timeout(PREFACE, greeting) => greeted,
                () = closing.cancelled() => return,
                () = peer.evicted.cancelled() => return,
            };
            // Why a handshake failed is the peer's concern.
            if let Ok(Ok((stream, shown))) = greeted {
                connection(stream, shown, peer, door, closing).await;
            }
        });
    }
}

/// The connections that are open.
#[derive(Default)]
struct Open(Mutex<Vec<Weak<Peer>>>);

impl Open {
    fn add(&self, peer: &Arc<Peer>) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|peer| peer.strong_count() > 0);
        peers.push(Arc::downgrade(peer));
    }

    /// Ends the connection that was idle for longest, unless one ends already; where none is, and calls may be cut, the
    /// one that was quiet for longest.
    fn evict(&self, cuts_calls: bool) {
        let peers: Vec<Arc<Peer>> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
        if peers.iter().any(|peer| peer.evicted.is_cancelled()) {
            return;
        }
        let longest = |time: &dyn Fn(&Peer) -> Option<Duration>| {
            let timed =
                peers.iter().filter_map(|peer| time(peer).filter(|time| *time >= MAKES_ROOM).map(|time| (time, peer)));
            timed.max_by_key(|(time, _)| *time).map(|(_, peer)| peer)
        };
        let chosen = longest(&Peer::idle).or_else(|| longest(&|peer| cuts_calls.then(|| peer.quiet())));
        if let Some(peer) = chosen {
            peer.evicted.cancel();
        }
    }
}

async fn connection(
    stream: Box<dyn Bytes>,
    shown: Shown,
    peer: Arc<Peer>,
    door: Arc<Door>,
    closing: CancellationToken,
) {
    let Bounds { streams, cuts_calls, .. } = door.bounds;
    let calls = Calls::new(door, Arc::clone(&peer), shown);
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW.max(streams.saturating_mul(WINDOW_OF_CALL)))
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(Wire::new(stream, Arc::clone(&peer))), calls);
    let mut served = std::pin::pin!(served);
    let mut ending: Option<Instant> = None;
    loop {
        let look = if ending.is_some() { LOOK_CLOSER } else { LOOK };
        tokio::select! {
            // How it ended is the peer's concern.
            _ = served.as_mut() => return,
            () = closing.cancelled(), if ending.is_none() => {
                ending = Some(Instant::now());
                served.as_mut().graceful_shutdown();
            }
            () = peer.evicted.cancelled(), if ending.is_none() => {
                if cuts_calls && peer.idle().is_none() {
                    return;
                }
                ending = Some(Instant::now());
                served.as_mut().graceful_shutdown();
            }
            () = sleep(look) => match peer.verdict(ending.map(|since| since.elapsed())) {
                Verdict::Stays => {}
                Verdict::Ends => {
                    ending = Some(Instant::now());
                    served.as_mut().graceful_shutdown();
                }
                Verdict::IsCut => return,
            },
        }
    }
}
