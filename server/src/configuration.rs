//! What an operator can set, with its defaults; loaded by [`load`] from file, environment and flags.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use transport::channel::Secret;

pub(crate) mod access;
mod checks;
mod identity;
mod inputs;
mod listener_tls;
mod load;
mod methods;
mod mistakes;
mod protection;
mod retention;
mod schedules;
mod secrets;
pub(crate) mod service;
mod show;
mod store_tls;
#[cfg(test)]
mod tests;
mod unknown;
pub mod word;

pub use crate::access::{Grant, JwtConfig, StaticToken};
pub use crate::own::Own;
pub use identity::Tls;
pub(crate) use inputs::broken_inputs;
pub use listener_tls::{AdminTls, ListenerTls};
pub use load::{Loaded, Sources, load};
pub use methods::{Method, MethodLevel};
pub use mistakes::{Mistake, Mistakes};
pub use protection::{Breaker, Rate};
pub use retention::{Retention, Time, WorkflowRetention};
pub use schedules::{CatchUp, DstGap, DstOverlap, Overlap, Schedule};
pub use show::show;
pub use store_tls::StoreTls;
pub(crate) use unknown::unknown_workflows;

use crate::duration;

/// The whole configuration. Every key has a default; keys that are not here are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    pub health: Health,
    pub admin: Admin,
    pub store: Store,
    pub log: Log,
    pub drain: Drain,
    pub limits: Limits,
    /// Domain services by key; the key of `guras.users.v1.UserService` is `users`.
    pub services: BTreeMap<String, Service>,
    pub schedules: Schedules,
    pub retention: Retention,
}

/// The listener for probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    pub listen: SocketAddr,
    /// Whether the listener also tells which services it has.
    pub reflection: bool,
    pub max_connections: u32,
    /// How the listener is encrypted.
    pub tls: ListenerTls,
    /// How often readiness and liveness are looked at.
    #[serde(with = "duration")]
    pub interval: Duration,
}

/// The listener for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Allows an address that is not loopback although the listener neither encrypts nor authenticates.
    pub allow_insecure: bool,
    pub reflection: bool,
    pub max_message_bytes: u32,
    pub max_connections: u32,
    /// Calls in flight on one connection.
    pub max_streams: u32,
    /// Calls in flight on all connections.
    pub max_calls: u32,
    /// Streams of answers; a run that is watched is one.
    pub max_watches: u32,
    /// Reads that are worked on at the same time; others wait for their turn.
    pub max_reads: u32,
    /// Calls in flight of one principal, and calls in a second; none: as many as there are.
    pub max_calls_per_principal: u32,
    pub max_rate_per_principal: u32,
    /// How the listener is encrypted.
    pub tls: AdminTls,
    /// Path of a socket where the admin API is served too; the kernel says who is at its other end. Empty: nowhere else.
    pub socket: PathBuf,
    /// Static tokens, as their hashes. They and the grants are read again when the file changes.
    pub tokens: Vec<StaticToken>,
    /// Whose signed tokens prove who calls.
    pub jwt: JwtConfig,
    /// Who may do what. None, and no way to prove anything: everybody may do everything.
    pub grants: Vec<Grant>,
}

/// Where runs are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    #[serde(deserialize_with = "word::deserialize")]
    pub kind: StoreKind,
    /// The SQLite file. A lock file is made beside it.
    pub path: PathBuf,
    /// Waits this long after every commit, as on a slower disk. For benchmarks.
    #[serde(with = "duration")]
    pub commit_delay: Duration,
    /// Where the PostgreSQL database is, without a password.
    pub url: String,
    /// Allows a URL that sends everything over the network unencrypted.
    pub allow_insecure: bool,
    /// A file with the password of the database, read again for each connection. Empty: none.
    pub password_file: PathBuf,
    /// Files for encrypted connections to the database.
    pub tls: StoreTls,
    /// Connections to the database, beside the one of the heartbeat.
    pub connections: u32,
    /// How long a replica that is not heard of keeps its runs.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long one operation on the database may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Allows a database that can forget what it has acknowledged.
    pub allow_data_loss: bool,
    /// Whether replicas tell each other of changes by notifications.
    pub hints: bool,
}

impl Store {
    /// The file of the store, for a command that works on files.
    ///
    /// # Errors
    /// If the store is a database.
    pub fn file(&self) -> Result<&Path, NoFile> {
        match self.kind {
            StoreKind::Sqlite => Ok(&self.path),
            StoreKind::Postgres => Err(NoFile),
        }
    }

    /// By how much a replica stops acting for its runs before its lease ends.
    pub fn margin(&self) -> Duration {
        self.lease / 5
    }
}

/// The store is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("store.kind is `postgres`, and this command works on the file of a SQLite store; use the tools of PostgreSQL")]
pub struct NoFile;

/// What the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file beside the process, for one replica.
    Sqlite,
    /// A database that many replicas share.
    Postgres,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    #[serde(deserialize_with = "word::deserialize")]
    pub format: LogFormat,
    /// Directives as `tracing` reads them, for example `info,engine=debug`.
    pub filter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people where stderr is a terminal, one JSON object a line elsewhere.
    Auto,
    Pretty,
    Json,
}

/// What happens between SIGTERM and the exit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long steps in flight may take to finish before they are given up.
    #[serde(with = "duration")]
    pub grace: Duration,
}

/// Bounds of the engine; what exceeds one is refused with an error that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest input, output, request or response of a run.
    pub payload_bytes: u32,
    /// Bytes of a run's journal.
    pub journal_bytes: u32,
    pub steps_per_run: u32,
    pub fan_out_width: u32,
    /// Child runs that one run starts.
    pub children_per_run: u32,
    /// Runs that are each other's children, one below the other; the first is not counted.
    pub child_depth: u32,
    /// Messages that wait in the inbox of one run.
    pub inbox_messages: u32,
    /// Runs in memory at the same time; further starts stay PENDING until there is room.
    pub runs_in_flight: u32,
    /// A run that waits no longer than this stays in memory.
    #[serde(with = "duration")]
    pub linger: Duration,
}

/// How one domain service is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    /// `http://host:port`, `https://host:port`, or another form of a gRPC target. Empty: calls to the service fail, unsent.
    pub address: String,
    /// How often the name in the address is resolved while all is well.
    #[serde(with = "duration")]
    pub resolve_interval: Duration,
    /// How the connection is encrypted, and who is at its ends.
    pub tls: Tls,
    /// The bearer token that goes with every call.
    #[serde(with = "identity::secret")]
    pub token: Secret,
    /// The same in a file, which is read again when it changes.
    pub token_file: PathBuf,
    /// Whether the token may go over a connection that is not encrypted.
    pub allow_insecure_token: bool,
    /// Calls in flight at most; further ones wait.
    pub max_in_flight: u32,
    /// Whether that counts over all replicas that share the store.
    pub strict_max_in_flight: bool,
    /// The most messages of a stream of responses, which a step keeps together.
    pub max_stream_messages: u32,
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Time for one attempt where the step names none.
    #[serde(with = "duration")]
    pub call_timeout: Duration,
    /// Timeouts, sizes and retries by method, and how calls are spread over endpoints, as JSON in the service config format
    /// of gRPC.
    pub service_config: String,
    /// The same in a file.
    pub service_config_file: PathBuf,
    /// Whether each call carries which attempt of which step of which run it is, in `orchestrator-attempt`.
    pub attempt_header: bool,
    pub rate: Rate,
    pub breaker: Breaker,
    /// What its contracts leave open, by method; the key of `WriteText` is `write_text`.
    pub methods: BTreeMap<String, Method>,
}

/// Schedules by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedules(pub BTreeMap<String, Schedule>);

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Default for Health {
    fn default() -> Self {
        Self {
            listen: loopback(50051),
            reflection: false,
            max_connections: 64,
            tls: ListenerTls::default(),
            interval: Duration::from_secs(1),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: loopback(50052),
            allow_insecure: false,
            reflection: true,
            max_message_bytes: 4 * 1024 * 1024,
            max_connections: 256,
            max_streams: 2_048,
            max_calls: 16_384,
            max_watches: 1_000,
            max_reads: 4,
            max_calls_per_principal: 4_096,
            max_rate_per_principal: 0,
            tls: AdminTls::default(),
            socket: PathBuf::new(),
            tokens: Vec::new(),
            jwt: JwtConfig::default(),
            grants: Vec::new(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sqlite,
            path: PathBuf::from("orchestrator.db"),
            commit_delay: Duration::ZERO,
            url: String::new(),
            allow_insecure: false,
            password_file: PathBuf::new(),
            tls: StoreTls::default(),
            connections: 8,
            lease: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
            allow_data_loss: false,
            hints: true,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: String::from("info") }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { grace: Duration::from_secs(25) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let engine = engine::limits::Limits::default();
        Self {
            payload_bytes: u32::try_from(engine.payload_bytes).unwrap_or(u32::MAX),
            journal_bytes: u32::try_from(engine.journal_bytes).unwrap_or(u32::MAX),
            steps_per_run: engine.steps_per_run,
            fan_out_width: engine.fan_out_width,
            children_per_run: engine.children_per_run,
            child_depth: engine.child_depth,
            inbox_messages: engine.inbox_messages,
            runs_in_flight: engine.runs_in_flight,
            linger: engine.linger,
        }
    }
}

impl From<&Limits> for engine::limits::Limits {
    fn from(limits: &Limits) -> Self {
        Self {
            payload_bytes: limits.payload_bytes as usize,
            journal_bytes: limits.journal_bytes as usize,
            steps_per_run: limits.steps_per_run,
            fan_out_width: limits.fan_out_width,
            children_per_run: limits.children_per_run,
            child_depth: limits.child_depth,
            inbox_messages: limits.inbox_messages,
            runs_in_flight: limits.runs_in_flight,
            linger: limits.linger,
            ..Self::default()
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            address: String::new(),
            resolve_interval: Duration::from_secs(30),
            tls: Tls::default(),
            token: Secret::default(),
            token_file: PathBuf::new(),
            allow_insecure_token: false,
            max_in_flight: 1_024,
            strict_max_in_flight: false,
            max_stream_messages: 10_000,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(20),
            service_config: String::new(),
            service_config_file: PathBuf::new(),
            attempt_header: false,
            rate: Rate::default(),
            breaker: Breaker::default(),
            methods: BTreeMap::new(),
        }
    }
}
