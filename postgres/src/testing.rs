//! Servers and databases for tests and benchmarks: a test gets a fresh database on a server that lives as long as the test's process.
//!
//! Which server that is, the environment says: `ORCHESTRATOR_TEST_POSTGRES_URL` names one that runs already. Without it, the
//! binaries that `./test` installs are used, and else those of the system. A test that finds none fails.

#![expect(clippy::panic, reason = "a test without a server fails, and says what is missing")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Mutex;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

mod binaries;
mod pooler;
mod proxy;
mod server;
#[cfg(any(test, feature = "testing"))]
pub mod statements;

use binaries::Binaries;
pub use pooler::Pooler;
pub use proxy::{Faults, Proxy};
pub use server::{Server, Stop};

/// Names a server that runs already, and a user who may create databases.
const URL: &str = "ORCHESTRATOR_TEST_POSTGRES_URL";

/// Which of the releases that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    Newest,
    Oldest,
}

/// The servers of this process. Each is started by the test that asks first.
static NEWEST: OnceLock<Server> = OnceLock::new();
static OLDEST: OnceLock<Server> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::const_new(());

/// How the connection to a new, empty database is made. It is there until the server stops.
///
/// # Panics
/// If there is no server, and none can be started.
pub async fn database(release: Release) -> Config {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = server(release).await;
    let name = format!("orchestrator_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    // One after the other: each copies the same template, which nothing else may use meanwhile.
    let _turn = STARTING.lock().await;
    run(&server, &format!("CREATE DATABASE {name}")).await;
    let mut config = server;
    config.dbname(&name);
    config
}

/// The same as an orchestrator is told it: the URL, and the password beside it.
///
/// # Panics
/// If the server is neither on a socket nor on a host.
pub fn settings(database: &Config) -> (String, Option<String>) {
    let host = match database.get_hosts().first() {
        Some(Host::Unix(folder)) => folder.display().to_string(),
        Some(Host::Tcp(host)) => host.clone(),
        None => panic!("the database for tests has no host"),
    };
    let port = database.get_ports().first().copied().unwrap_or(5_432);
    let (user, name) = (database.get_user().unwrap_or("postgres"), database.get_dbname().unwrap_or("postgres"));
    let password = database.get_password().map(|password| String::from_utf8_lossy(password).into_owned());
    (format!("host={host} port={port} user={user} dbname={name}"), password)
}

/// Lets the time of a lease pass: its owner is heard of no more.
///
/// # Panics
/// If the database does not answer.
pub async fn expire(database: &Config, lease: Uuid) {
    run(database, &format!("UPDATE leases SET expires_at = 0 WHERE id = '{lease}'")).await;
}

/// A connection beside the store's own.
///
/// # Panics
/// If the database does not answer.
pub async fn connect(database: &Config) -> Client {
    let (client, connection) =
        database.connect(NoTls).await.unwrap_or_else(|error| panic!("the database for tests does not answer: {error}"));
    tokio::spawn(connection);
    client
}

async fn run(database: &Config, script: &str) {
    let done = connect(database).await.batch_execute(script).await;
    done.unwrap_or_else(|error| panic!("{script}: {error}"));
}

/// A server of the test's own, with these files beside its data.
///
/// # Panics
/// If there is none, or it does not start.
pub fn own_server(release: Release, files: &[(&str, &[u8])], settings: &[String]) -> Server {
    begun(&binaries(release), files, settings)
}

/// A server of the test's own that encrypts, with these files beside its data; none if no release that can be had was built
/// with TLS.
///
/// # Panics
/// If it does not start.
pub fn server_with_tls(files: &[(&str, &[u8])], settings: &[String]) -> Option<Server> {
    let binaries = Binaries::find().into_iter().rev().find(Binaries::has_tls)?;
    Some(begun(&binaries, files, settings))
}

fn binaries(release: Release) -> Binaries {
    let mut found = Binaries::find();
    let chosen = match release {
        Release::Newest => found.pop(),
        Release::Oldest => found.into_iter().next(),
    };
    let Some(binaries) = chosen else {
        panic!("no PostgreSQL server: run the tests by ./test, which installs one, or set {URL} to one that runs")
    };
    binaries
}

fn begun(binaries: &Binaries, files: &[(&str, &[u8])], settings: &[String]) -> Server {
    let server = Server::start(binaries, files, settings);
    server.unwrap_or_else(|error| panic!("{} does not start: {error}", binaries.describe()))
}

/// How the connection to the server itself is made.
async fn server(release: Release) -> Config {
    if let Ok(url) = std::env::var(URL) {
        return url.parse().unwrap_or_else(|error| panic!("{URL} is not a URL of PostgreSQL: {error}"));
    }
    let _turn = STARTING.lock().await;
    let place = match release {
        Release::Newest => &NEWEST,
        Release::Oldest => &OLDEST,
    };
    place.get_or_init(|| begun(&binaries(release), &[], &["listen_addresses=".to_owned()])).config()
}
