//! What one connection does and does not, as far as it decides how long it may stay.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bounds::{BLOCKED, IDLE, PREFACE, UNTAKEN};
use crate::access::Inside;

/// Length of the preface of HTTP/2.
const PREFACE_BYTES: u64 = 24;

/// How long a connection that is to end may take nothing, and say nothing, before it is cut.
const ENDING_BLOCKED: Duration = Duration::from_secs(1);
const ENDING_QUIET: Duration = Duration::from_millis(100);

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    began: Instant,
    read: AtomicU64,
    calls: AtomicUsize,
    /// Calls whose request has not come whole.
    receiving: AtomicUsize,
    /// Times are milliseconds since `began`.
    idle_since: AtomicU64,
    moved: AtomicU64,
    blocked: AtomicBool,
    blocked_since: AtomicU64,
    /// Answers that wait until the peer takes them, the oldest first.
    untaken: Mutex<BTreeMap<u64, Instant>>,
    next: AtomicU64,
    reader: Mutex<Option<Waker>>,
    /// Makes room for another connection.
    pub(super) evicted: CancellationToken,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    /// Takes no more calls and ends.
    Ends,
    /// Ends now, whatever it has in flight.
    IsCut,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            read: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            receiving: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            untaken: Mutex::default(),
            next: AtomicU64::new(0),
            reader: Mutex::default(),
            evicted: CancellationToken::new(),
        }
    }
}

impl Peer {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, at: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(at.load(Ordering::Relaxed)))
    }

    fn untaken(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the connection has had no call; none while it has one.
    pub(super) fn idle(&self) -> Option<Duration> {
        (self.calls.load(Ordering::Relaxed) == 0).then(|| self.since(&self.idle_since))
    }

    /// How long nothing came and nothing went.
    pub(super) fn quiet(&self) -> Duration {
        self.since(&self.moved)
    }

    /// Whether the connection may stay; with `ending`, which it was told so long ago.
    pub(super) fn verdict(&self, ending: Option<Duration>) -> Verdict {
        let blocked = self.blocked.load(Ordering::Relaxed).then(|| self.since(&self.blocked_since));
        let untaken = self.untaken().first_key_value().map(|(_, since)| since.elapsed());
        if let Some(ending) = ending {
            let takes_nothing = blocked.is_some_and(|blocked| blocked >= ENDING_BLOCKED)
                || untaken.is_some_and(|untaken| untaken >= ENDING_BLOCKED && ending >= ENDING_BLOCKED);
            // What has not come whole by now never does: the peer was told to begin nothing.
            let calls = self.calls.load(Ordering::Relaxed);
            let does_nothing = calls <= self.receiving.load(Ordering::Relaxed);
            let is_over = does_nothing && ending >= ENDING_QUIET && self.quiet() >= ENDING_QUIET;
            return if takes_nothing || is_over { Verdict::IsCut } else { Verdict::Stays };
        }
        if self.read.load(Ordering::Relaxed) < PREFACE_BYTES {
            return if self.began.elapsed() >= PREFACE { Verdict::IsCut } else { Verdict::Stays };
        }
        if blocked.is_some_and(|blocked| blocked >= BLOCKED) || untaken.is_some_and(|untaken| untaken >= UNTAKEN) {
            return Verdict::IsCut;
        }
        if self.idle().is_some_and(|idle| idle >= IDLE) { Verdict::Ends } else { Verdict::Stays }
    }

    fn moves(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
    }
}

/// A call on a connection, until it is dropped.
pub(super) struct Call(pub(super) Arc<Peer>, Option<Inside>);

impl Call {
    pub(super) fn begin(peer: Arc<Peer>) -> Self {
        peer.calls.fetch_add(1, Ordering::Relaxed);
        Self(peer, None)
    }

    /// What counts the call elsewhere is held as long as the call.
    pub(super) fn counts(&mut self, inside: Option<Inside>) {
        self.1 = inside;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that has not come whole, until this is dropped.
#[derive(Debug)]
pub(super) struct Receiving(Arc<Peer>);

impl Receiving {
    pub(super) fn begin(peer: Arc<Peer>) -> Self {
        peer.receiving.fetch_add(1, Ordering::Relaxed);
        Self(peer)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.receiving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that waits until the peer takes it, until this is dropped.
#[derive(Debug)]
pub(super) struct Untaken {
    peer: Arc<Peer>,
    number: u64,
}

impl Untaken {
    pub(super) fn begin(peer: Arc<Peer>) -> Self {
        let number = peer.next.fetch_add(1, Ordering::Relaxed);
        peer.untaken().insert(number, Instant::now());
        Self { peer, number }
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.peer.untaken().remove(&self.number);
    }
}

/// The bytes of a connection. While its peer takes none of ours, none of its own are read: what it asks for could not be
/// answered anyway.
pub(super) struct Wire<S> {
    stream: S,
    peer: Arc<Peer>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, peer: Arc<Peer>) -> Self {
        Self { stream, peer }
    }

    /// Notes whether the peer takes what we write.
    fn noted<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let peer = &self.peer;
        if written.is_pending() {
            if !peer.blocked.swap(true, Ordering::Relaxed) {
                peer.blocked_since.store(peer.now(), Ordering::Relaxed);
            }
        } else {
            peer.moves();
            if peer.blocked.swap(false, Ordering::Relaxed) {
                peer.wake_reader();
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.peer.blocked.load(Ordering::Relaxed) {
            *self.peer.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len().saturating_sub(before) as u64;
        if read > 0 {
            self.peer.read.fetch_add(read, Ordering::Relaxed);
            self.peer.moves();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.noted(written)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn spoken() -> Arc<Peer> {
        let peer = Peer::default();
        peer.read.store(PREFACE_BYTES, Ordering::Relaxed);
        Arc::new(peer)
    }

    async fn after(peer: &Peer, seconds: u64) -> Verdict {
        tokio::time::sleep_until(peer.began + Duration::from_secs(seconds)).await;
        peer.verdict(None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_begins_to_speak_is_cut() {
        let peer = Peer::default();
        assert_eq!(after(&peer, 9).await, Verdict::Stays);
        assert_eq!(after(&peer, 10).await, Verdict::IsCut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_call_ends_and_one_with_a_call_stays() {
        let peer = spoken();
        assert_eq!(after(&peer, 59).await, Verdict::Stays);
        let call = Call::begin(peer.clone());
        assert_eq!(after(&peer, 3_600).await, Verdict::Stays);
        drop(call);
        assert_eq!(after(&peer, 3_659).await, Verdict::Stays);
        assert_eq!(after(&peer, 3_660).await, Verdict::Ends);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_of_an_answer_is_cut() {
        let peer = spoken();
        let _call = Call::begin(peer.clone());
        let taken = Untaken::begin(peer.clone());
        let untaken = Untaken::begin(peer.clone());
        assert_eq!(after(&peer, 29).await, Verdict::Stays);
        drop(taken);
        assert_eq!(after(&peer, 30).await, Verdict::IsCut);
        drop(untaken);
        assert_eq!(after(&peer, 31).await, Verdict::Stays);
        peer.blocked.store(true, Ordering::Relaxed);
        peer.blocked_since.store(peer.now(), Ordering::Relaxed);
        assert_eq!(after(&peer, 40).await, Verdict::Stays);
        assert_eq!(after(&peer, 41).await, Verdict::IsCut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_for_calls_that_go_on_and_for_nobody_who_is_silent() {
        let ending = |seconds| Some(Duration::from_millis(seconds));
        let peer = spoken();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(peer.verdict(ending(50)), Verdict::Stays);
        assert_eq!(peer.verdict(ending(100)), Verdict::IsCut);
        let _call = Call::begin(peer.clone());
        assert_eq!(peer.verdict(ending(4_000)), Verdict::Stays);
        let half_sent = Receiving::begin(peer.clone());
        assert_eq!(peer.verdict(ending(4_000)), Verdict::IsCut);
        drop(half_sent);
        let _untaken = Untaken::begin(peer.clone());
        assert_eq!(peer.verdict(ending(1_000)), Verdict::Stays);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(peer.verdict(ending(1_000)), Verdict::IsCut);
    }
}
