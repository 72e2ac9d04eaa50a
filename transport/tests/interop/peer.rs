//! The servers as processes, and calls that tell them what to do.
//!
//! A call's payload is a script, as JSON:
//!
//! | field | the server |
//! |---|---|
//! | `code`, `message` | fails with this status |
//! | `failures` | only this often; after that it succeeds |
//! | `details` | puts `rich` ones beside it (`RetryInfo`, `ErrorInfo`), or `garbage` |
//! | `pushback_ms` | says when, or that never, to come again |
//! | `begin` | sends the head of its response first |
//! | `sleep` | takes this many seconds |
//! | `size` | answers with this many bytes, else with what it saw: `metadata`, `left`, `attempt` |
//! | `compress` | compresses its answer, where the implementation can |
//! | `stop` | shuts down, and waits for the calls that are open |
//! | `messages` | of a stream: answers with this many before it ends or fails |

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::claim::Always;
use engine::rpc::Level;
use engine::transport::{Attempt, Outcome, StepPlace, Transport};
use prost::Message;
use serde_json::Value;
use test_contracts::test::echo::v1::{WriteRequest, WriteResponse};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use transport::channel::ChannelConfig;
use transport::policy::ServicePolicy;
use transport::{BreakerConfig, ServiceConfig, Services};

/// A Python that has what `tests/requirements.txt` lists.
const PYTHON: &str = "ORCHESTRATOR_TEST_PYTHON";
/// A folder with the packages of `tests/package.json`.
const NODE_PATH: &str = "ORCHESTRATOR_TEST_NODE_PATH";

/// Long enough never to be reached by a test that passes.
pub const LONG: Duration = Duration::from_secs(30);

pub const WRITE: &str = "/test.echo.v1.EchoService/Write";
pub const STREAM: &str = "/test.entries.v1.EntryService/StreamEntries";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    Grpcio,
    GrpcJs,
}

/// A server that runs.
pub struct Peer {
    pub implementation: Implementation,
    pub address: String,
    /// Its end is the server's.
    _process: Child,
}

/// A server of each implementation that there is on this machine, with options as gRPC names them.
pub async fn peers(options: Value) -> Vec<Peer> {
    let mut peers = Vec::new();
    for implementation in [Implementation::Grpcio, Implementation::GrpcJs] {
        match command(implementation) {
            Some(command) => peers.push(Peer::start(implementation, command, &options).await),
            None => eprintln!("SKIPPED: no server on {implementation:?} can run; `./test` installs what it needs"),
        }
    }
    peers
}

fn command(implementation: Implementation) -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    Some(match implementation {
        Implementation::Grpcio => {
            let mut command = Command::new(named(PYTHON)?);
            command.arg(folder.join("tests/interop/server.py"));
            command
        }
        Implementation::GrpcJs => {
            let mut command = Command::new("node");
            command.env("NODE_PATH", named(NODE_PATH)?);
            command.arg(folder.join("tests/interop/server.js")).arg(folder.join("../tests/contracts/proto"));
            command
        }
    })
}

impl Peer {
    async fn start(implementation: Implementation, mut command: Command, options: &Value) -> Self {
        command.arg(options.to_string()).kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("{implementation:?} does not start"));
        Self { implementation, address: format!("http://127.0.0.1:{port}"), _process: process }
    }

    pub fn services(&self) -> Services {
        self.services_with(ChannelConfig::default(), "{}")
    }

    /// With a service config.
    pub fn services_with(&self, channel: ChannelConfig, policy: &str) -> Services {
        Services::new(
            &test_contracts::CONTRACTS,
            [ServiceConfig {
                name: "peer".to_owned(),
                prefixes: ["test.echo.v1", "test.entries.v1"].map(str::to_owned).into(),
                address: self.address.clone(),
                channel,
                policy: ServicePolicy::parse(policy).unwrap(),
                breaker: BreakerConfig { enabled: false, ..BreakerConfig::default() },
                ..ServiceConfig::default()
            }],
        )
        .unwrap()
    }
}

/// Makes one call.
pub async fn call(services: &Services, script: Value) -> Outcome {
    send(services, WRITE, script.to_string().into(), attempt(LONG)).await
}

/// Sends this payload.
pub async fn send(services: &Services, path: &str, payload: Bytes, attempt: Attempt) -> Outcome {
    // All requests of the peers have their payload, or their first text, in field 1.
    let request = Bytes::from(WriteRequest { payload }.encode_to_vec());
    let reserved = match services.reserve(path, attempt.run, LONG).await {
        Ok(reserved) => reserved.ready().await,
        Err(unsent) => return Outcome::NotSent(unsent),
    };
    match reserved {
        Ok(reserved) => reserved.send(Attempt { request, ..attempt }).await,
        Err(unsent) => Outcome::NotSent(unsent),
    }
}

/// An attempt with a key of its own.
pub fn attempt(within: Duration) -> Attempt {
    Attempt {
        request: Bytes::new(),
        level: Level::Idempotent,
        key: Some(format!("{:032x}", rand::random::<u128>()).parse().unwrap()),
        deadline: Instant::now() + within,
        run: "018f4c1e-0000-7000-8000-00000000002a".parse().unwrap(),
        step: StepPlace::default(),
        number: 1,
        epoch: 1,
        claim: Arc::new(Always),
    }
}

/// The payload of an answer.
#[track_caller]
pub fn payload(outcome: Outcome) -> Bytes {
    match outcome {
        Outcome::Done(message) => WriteResponse::decode(message).unwrap().payload,
        other => panic!("expected an answer, got {other:?}"),
    }
}

/// What a server saw of a call.
#[track_caller]
pub fn seen(outcome: Outcome) -> Value {
    serde_json::from_slice(&payload(outcome)).unwrap()
}
