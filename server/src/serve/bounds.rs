//! What the callers of one listener may take of this process, all of them together.

use std::time::Duration;

/// How long a connection may take to begin to speak HTTP/2.
pub(super) const PREFACE: Duration = Duration::from_secs(10);

/// How long a connection without a call stays.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// How often a connection is asked whether its peer still lives, and how long the answer may take.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
pub(super) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a peer may take nothing of what was written to it, by the socket and by the windows of HTTP/2.
pub(super) const BLOCKED: Duration = Duration::from_secs(10);
pub(super) const UNTAKEN: Duration = Duration::from_secs(30);

/// How long the next part of a request may take to come, and all of it.
pub(super) const REQUEST: Pace = Pace { part: Duration::from_secs(10), whole: Duration::from_secs(60) };

/// The same where caller and answer take turns, as in a talk with reflection.
pub(super) const TALK: Pace = Pace { part: Duration::from_secs(60), whole: Duration::from_secs(3_600) };

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) part: Duration,
    pub(super) whole: Duration,
}

/// How long the rest of a request that is refused may take.
pub(super) const READ_OUT: Duration = Duration::from_secs(1);

/// A connection that was idle for so long makes room for a new one where there is none left.
pub(super) const MAKES_ROOM: Duration = Duration::from_millis(250);

/// Bytes of a request or an answer that count against nothing, so that small ones always go through.
pub(super) const SMALL: usize = 4 << 10;

/// Bytes that HTTP/2 takes of one call before somebody reads them; and of one connection for each call that it may have,
/// where they are more: h2 cuts a connection off whose small frames are worth more than half of its window.
pub(super) const WINDOW: u32 = 256 << 10;
pub(super) const WINDOW_OF_CALL: u32 = 512;

/// Bytes that HTTP/2 keeps of one answer for the peer.
pub(super) const SEND_BUFFER: usize = 64 << 10;

/// Bytes of the headers of a request.
pub(super) const HEADERS: u32 = 16 << 10;

/// How long an answer waits for room for its bytes, and a stream that has begun not at all.
pub(super) const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);

/// While reads wait, each is followed by a rest of so many times as long as it took.
pub(super) const REST: u32 = 3;
pub(super) const LONGEST_REST: Duration = Duration::from_secs(1);

/// Reads that wait for their turn; further ones are refused.
pub(super) const WAITING_READS: usize = 256;

/// The bounds that differ from one listener to the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    /// Calls in flight on one connection, and on all of them.
    pub(super) streams: u32,
    pub(super) calls: usize,
    /// Streams of answers.
    pub(super) watches: usize,
    /// Reads that are worked on at the same time.
    pub(super) reads: usize,
    /// Bytes of requests that have not come whole or are not stored yet.
    pub(super) request_bytes: usize,
    /// Bytes of answers that their peers have not taken.
    pub(super) answer_bytes: usize,
    /// Whether a connection with calls makes room too where all have some: for probes, which come again.
    pub(super) cuts_calls: bool,
}
