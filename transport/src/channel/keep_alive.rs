//! Notices a dead peer by its silence, without so many pings that a living one takes offence.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::KeepAlive;
use super::lost::Lost;

/// Bytes of the answer to a ping.
const PONG: usize = 17;

/// Pings in one silence that every gRPC server takes. Unless they are told otherwise they close the connection at the third
/// within [`SPARSELY`], or at the fourth (gRFC A8); what they send themselves starts the count again.
const FREE_PINGS: u32 = 2;

/// The least time between pings after those.
const SPARSELY: Duration = Duration::from_secs(300);

/// Watches one connection.
pub(crate) struct Watch {
    keep_alive: KeepAlive,
    /// Bytes that were read since somebody last looked.
    heard: Arc<AtomicUsize>,
    timer: Pin<Box<Sleep>>,
    /// A ping is out.
    asked: bool,
    /// Pings since the peer last said something else.
    pings: u32,
    last_ping: Instant,
}

impl Watch {
    pub(crate) fn new(keep_alive: KeepAlive, heard: Arc<AtomicUsize>) -> Self {
        let timer = Box::pin(sleep(keep_alive.interval));
        Self { keep_alive, heard, timer, asked: false, pings: 0, last_ping: Instant::now() }
    }

    /// Ends with an error when the peer is dead. `in_use`: calls are in flight.
    pub(crate) fn poll(&mut self, ping_pong: &mut PingPong, in_use: bool, cx: &mut Context<'_>) -> Poll<Lost> {
        if self.asked && ping_pong.poll_pong(cx).is_ready() {
            self.asked = false;
            self.look(PONG);
            self.wait(self.keep_alive.interval);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            // Any byte proves life as well as a pong does.
            let heard = self.look(0);
            if self.asked && !heard {
                return Poll::Ready(Lost::Silent(self.keep_alive.timeout));
            }
            let wanted = (in_use || self.keep_alive.while_idle) && self.may_ask();
            if self.asked || heard || !wanted || ping_pong.send_ping(Ping::opaque()).is_err() {
                self.wait(self.keep_alive.interval);
            } else {
                self.asked = true;
                self.pings = self.pings.saturating_add(1);
                self.last_ping = Instant::now();
                self.wait(self.keep_alive.timeout);
                // Registers the task for the pong.
                if ping_pong.poll_pong(cx).is_ready() {
                    self.asked = false;
                }
            }
        }
    }

    /// Whether more was heard than these bytes, which end no silence.
    fn look(&mut self, without: usize) -> bool {
        let heard = self.heard.swap(0, Ordering::Relaxed) > without;
        if heard {
            self.pings = 0;
        }
        heard
    }

    fn may_ask(&self) -> bool {
        self.pings < FREE_PINGS || self.last_ping.elapsed() >= SPARSELY
    }

    fn wait(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
