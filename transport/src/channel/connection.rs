//! One HTTP/2 connection: how it is opened, and the task that drives it and notices when the peer is dead.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use h2::client::SendRequest;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ChannelConfig;
use super::dial::dial;
use super::endpoint::Endpoint;
use super::frame::Frame;
use super::keep_alive::Watch;
use super::lost::Lost;
use super::stream::Stream;

/// Bytes of one response that may arrive before it is read.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same over all responses of a connection, which bounds what an overrun client holds.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Response headers and trailers; details of a status travel in them. What is larger costs the call its status, and what is
/// much larger costs all calls their connection, so this is as much as a message may have. What is kept is cut (`status`).
const MAX_HEADER_LIST: u32 = 4 * 1024 * 1024;
/// What h2 charges at most for a small DATA frame that waits to be read.
const FRAME_CHARGE: usize = 256;

/// What is known of an open connection.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// It takes requests, so many at a time.
    Open { allowed: usize },
    /// The peer takes no more, and finishes what it has (GOAWAY).
    GoingAway,
    /// It has ended.
    Ended(Arc<Lost>),
}

impl Endpoint {
    /// Opens a connection, which a task of its own drives to its end.
    pub(crate) async fn connect(self: &Arc<Self>, config: &ChannelConfig) -> Result<Line, Lost> {
        let (requests, driver) = open(self, config).await?;
        tracing::info!(service = self.service(), address = %self.peer(), "connected");
        let requests = Arc::new(Mutex::new(requests));
        let standing = driver.standing();
        tokio::spawn(driver.run(Arc::downgrade(&requests)));
        Ok(Line { requests, standing })
    }
}

/// An open connection. It is closed when this is dropped and the last call over it has ended.
pub(crate) struct Line {
    requests: Arc<Mutex<SendRequest<Frame>>>,
    standing: watch::Receiver<Standing>,
}

impl Line {
    pub(crate) fn requests(&self) -> SendRequest<Frame> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

/// Opens a connection to the endpoint and waits until the peer has answered over it.
async fn open(endpoint: &Arc<Endpoint>, config: &ChannelConfig) -> Result<(SendRequest<Frame>, Driver), Lost> {
    let within = config.connect_timeout;
    let opened = timeout(within, async {
        let stream = endpoint.identity().secure(endpoint.service(), dial(endpoint.peer()).await?).await;
        let stream = stream.map_err(|source| Lost::Tls { peer: endpoint.peer().clone(), source })?;
        handshake(stream, endpoint, config).await
    });
    opened.await.unwrap_or(Err(Lost::TimedOut(within)))
}

/// Whether a new request may still go over the connection: not after a GOAWAY.
pub(crate) fn takes_requests(requests: &mut SendRequest<Frame>) -> bool {
    // Of a handle that has sent nothing this asks only for the state of the connection, and is never pending.
    matches!(requests.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

async fn handshake(
    stream: Stream,
    endpoint: &Arc<Endpoint>,
    config: &ChannelConfig,
) -> Result<(SendRequest<Frame>, Driver), Lost> {
    let heard = Arc::new(AtomicUsize::new(0));
    let stream = Heard { stream, heard: Arc::clone(&heard) };
    let (requests, mut connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        // Answers that come after their deadline are not the fault of the peer, and no reason to end a connection.
        .max_local_error_reset_streams(None)
        // A pause of ours with every permit taken leaves one small frame a call unread.
        .data_frame_budget(config.max_in_flight.saturating_mul(2 * FRAME_CHARGE).max(CONNECTION_WINDOW as usize))
        .handshake(stream)
        .await
        .map_err(no_greeting)?;

    let Some(pings) = connection.ping_pong() else {
        return Err(Lost::Closed);
    };
    let mut driver = Driver {
        connection,
        pings,
        watch: Watch::new(config.keep_alive.clone(), heard),
        endpoint: Arc::clone(endpoint),
        requests: Weak::new(),
        allowed: None,
        standing: watch::Sender::new(Standing::Open { allowed: 0 }),
    };
    driver.greet().await?;
    Ok((requests, driver))
}

/// Drives a connection until it ends. Where it is dropped the connection is closed.
pub(crate) struct Driver {
    connection: h2::client::Connection<Heard, Frame>,
    pings: PingPong,
    watch: Watch,
    endpoint: Arc<Endpoint>,
    /// To ask whether the connection still takes requests, without keeping it open; none if it is not needed.
    requests: Weak<Mutex<SendRequest<Frame>>>,
    /// What the peer was last seen to allow.
    allowed: Option<usize>,
    standing: watch::Sender<Standing>,
}

impl Driver {
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Drives the connection to its end. It stays open while `requests` exists or a call over it is open.
    pub(crate) async fn run(mut self, requests: Weak<Mutex<SendRequest<Frame>>>) {
        self.requests = requests;
        let lost = (&mut self).await;
        tracing::info!(
            service = self.endpoint.service(), address = %self.endpoint.peer(), reason = %lost, "connection ended"
        );
        self.standing.send_replace(Standing::Ended(Arc::new(lost)));
    }

    /// Waits for the answer to a ping. A peer that accepts connections and says nothing is not connected, and the
    /// peer's settings, which come before, are known from here on.
    async fn greet(&mut self) -> Result<(), Lost> {
        self.pings.send_ping(Ping::opaque()).map_err(no_greeting)?;
        poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(Err(ended.err().map_or(Lost::Closed, no_greeting)));
            }
            self.pings.poll_pong(cx).map_ok(drop).map_err(no_greeting)
        })
        .await?;
        self.follow_limit();
        Ok(())
    }

    fn follow_limit(&mut self) {
        let allowed = self.connection.max_concurrent_send_streams();
        if self.allowed.replace(allowed) != Some(allowed) {
            self.standing.send_replace(Standing::Open { allowed });
        }
    }

    /// Takes up what the peer has said of the connection; nothing after its GOAWAY, nor if it is not needed.
    fn follow(&mut self) {
        let Some(requests) = self.requests.upgrade() else { return };
        if takes_requests(&mut requests.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.follow_limit();
        } else {
            self.requests = Weak::new();
            self.standing.send_replace(Standing::GoingAway);
        }
    }
}

/// A peer that refuses our certificate says so only here: a TLS 1.3 handshake is over for us before it is for the peer.
fn no_greeting(error: h2::Error) -> Lost {
    if error.is_io() { Lost::Refused(error) } else { Lost::Handshake(error) }
}

impl Future for Driver {
    type Output = Lost;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Lost> {
        let this = &mut *self;
        if let Poll::Ready(ended) = pin!(&mut this.connection).poll(cx) {
            return Poll::Ready(ended.err().map_or(Lost::Closed, Lost::Broken));
        }
        this.follow();
        this.watch.poll(&mut this.pings, this.endpoint.in_flight() > 0, cx)
    }
}

/// A stream that counts what was read.
struct Heard {
    stream: Stream,
    heard: Arc<AtomicUsize>,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.heard.fetch_add(buf.filled().len() - before, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
