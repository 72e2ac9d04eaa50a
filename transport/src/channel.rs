//! Our own channel under the generated clients: what it is handed, what it hands back, and who may know more about it.
//!
//! It stands on h2 directly, because a durable engine must know of every call whether the message left, and a general
//! HTTP client does not say. The way of a call, one file a step:
//!
//! 1. A [`Target`] says where the service listens. Its name is resolved (`resolver`) again and again, and a task
//!    (`membership`) keeps the endpoints of the channel (`pool`) those that it has.
//! 2. Each `endpoint` is one address (a `peer`). The policy (`balancing`) says which ones are connected (`balance`): `dial`
//!    opens a `stream`, `identity` encrypts it, `connection` speaks HTTP/2 over it until it is `lost`, and `back_off` says
//!    when the next try is. If the policy looks at all endpoints, `health_watch` asks each how it is.
//! 3. A reservation on the [`Channel`] (`reserve`) takes one of the `permits` of the service and the endpoint that the
//!    `picker` chooses; both are `reserved` for one request.
//! 4. The [`Seam`] sends one request over it: `headers`, `frame` and `exchange` make it, the `answer` is a `single` message or
//!    a stream of them, `collected`, and what ended an exchange without one becomes an outcome (`fault`, `status`).

mod answer;
mod back_off;
mod balance;
mod balancing;
mod collected;
mod connection;
mod dial;
mod direct;
mod encoding;
mod endpoint;
mod exchange;
mod fault;
pub mod files;
mod frame;
mod headers;
mod health_watch;
mod identity;
mod keep_alive;
mod lost;
mod membership;
mod peer;
mod permits;
mod picker;
mod pool;
mod reserve;
mod reserved;
mod resolver;
mod seam;
mod served;
mod single;
mod state;
mod status;
mod stream;
mod target;
mod whole_exchange;

use std::time::Duration;

use bytes::Bytes;

pub use balancing::{Balancing, BalancingPolicy};
pub use direct::{ConnectError, Direct, connect, connect_as};
pub use fault::Verdict;
pub(crate) use fault::{End, Origin};
pub use identity::{FetchError, Https, Identity, IdentityConfig, IdentityMistake, Secret, TlsConfig, TokenSource};
pub use reserve::Channel;
pub use reserved::Reserved;
pub use resolver::{Resolution, Resolve, SystemResolver};
pub use seam::Seam;
pub use served::{ClientCertificate, ServedTls, ServedTlsConfig};
pub use state::{ChannelState, Connectivity, EndpointState};
pub(crate) use status::Pushback;
pub use target::{Target, TargetError};

/// The stored request message, in the extensions of the HTTP request. These bytes are sent; the body is not polled.
#[derive(Clone, Debug)]
pub struct Stored(pub Bytes);

/// The response message, in the extensions of the HTTP response; of a stream, all its messages as one that repeats them.
#[derive(Clone, Debug)]
pub struct Received(pub Bytes);

/// The span of an attempt, as it is sent to the service.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// Id of the trace.
    pub trace: u128,
    /// Id of the span.
    pub span: u64,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

/// What one attempt is made under.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The largest request message that is sent.
    pub max_request_bytes: usize,
    /// The largest response message that is taken; of a stream, all of them together.
    pub max_response_bytes: usize,
    /// The most messages of a stream that are collected; none where the method answers with one.
    pub max_stream_messages: Option<usize>,
    /// The span that is sent to the service; without one it gets a span that is not recorded, in the trace of the run.
    pub trace: Option<Trace>,
    /// Attempts of the same call before this one, as they are sent to the service.
    pub previous_attempts: u32,
    /// Whether the service gets to know which attempt of which step of which run this is.
    pub attempt_header: bool,
}

/// How a channel connects and what it lets through.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Calls in flight at a time, over all endpoints; each may allow fewer on its connection.
    pub max_in_flight: usize,
    /// How the name of the service is resolved.
    pub resolution: Resolution,
    /// Time for connect and the first exchange of frames together, for each address.
    pub connect_timeout: Duration,
    /// Pause after the first failure to connect or to resolve; it grows with each further one in a row.
    pub back_off: Duration,
    /// The longest such pause.
    pub max_back_off: Duration,
    /// How a dead peer is noticed.
    pub keep_alive: KeepAlive,
    /// The largest request message that is sent.
    pub max_request_bytes: usize,
    /// The largest response message that is taken; of a stream, all of them together.
    pub max_response_bytes: usize,
    /// The most messages of a stream that are collected.
    pub max_stream_messages: usize,
    /// Whether the service gets to know which attempt of which step of which run a call is, in `orchestrator-attempt`.
    pub attempt_header: bool,
    /// Who we are to the service, and how we know that it is itself.
    pub identity: Identity,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            max_in_flight: 1024,
            resolution: Resolution::default(),
            connect_timeout: Duration::from_secs(5),
            back_off: Duration::from_millis(100),
            max_back_off: Duration::from_secs(10),
            keep_alive: KeepAlive::default(),
            max_request_bytes: 4 * 1024 * 1024,
            max_response_bytes: 4 * 1024 * 1024,
            max_stream_messages: 10_000,
            attempt_header: false,
            identity: Identity::default(),
        }
    }
}

/// A ping goes out after a silence; a peer that stays silent is dead. After two pings of one silence further ones are five
/// minutes apart, because gRPC servers take more for abuse unless they are told otherwise.
#[derive(Clone, Debug)]
pub struct KeepAlive {
    /// Silence after which a ping is sent.
    pub interval: Duration,
    /// Time for the answer.
    pub timeout: Duration,
    /// Whether to ping with no call in flight. Many servers take that for abuse and close the connection.
    pub while_idle: bool,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), timeout: Duration::from_secs(10), while_idle: false }
    }
}
