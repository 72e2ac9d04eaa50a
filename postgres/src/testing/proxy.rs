//! A proxy before a server that understands its protocol well enough to do harm where it matters: at a commit.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// What happens to commits: the share of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The transaction is taken back, and the answer is 40001.
    pub refused: f64,
    /// It is done, and the connection ends instead of an answer.
    pub answer_lost: f64,
    /// The connection ends, and nothing of it is done.
    pub request_lost: f64,
    /// The connection ends first, and it is done after the delay.
    pub late: f64,
    /// It is done and answered after the delay.
    pub delayed: f64,
    /// How long something late or delayed takes.
    pub delay: Duration,
}

/// How much gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// Connections stay, and nothing moves on them.
    HalfOpen,
    /// There are no connections, and no new ones.
    Refused,
}

/// How often each happened.
#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    harmed: AtomicU64,
}

struct Shared {
    server: Config,
    dice: Mutex<StdRng>,
    faults: Mutex<Faults>,
    flow: watch::Sender<Flow>,
    counts: Counts,
}

/// Stands before a server, on a port of this machine, until it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// One that does no harm yet; its dice begin with the seed.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn before(server: &Config, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server: server.clone(),
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            faults: Mutex::default(),
            flow: watch::Sender::new(Flow::Open),
            counts: Counts::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, accepting })
    }

    /// How the connection through it is made.
    pub fn config(&self) -> Config {
        let server = &self.shared.server;
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port);
        config.user(server.get_user().unwrap_or("postgres")).dbname(server.get_dbname().unwrap_or("postgres"));
        if let Some(options) = server.get_options() {
            config.options(options);
        }
        if let Some(password) = server.get_password() {
            config.password(password);
        }
        config
    }

    /// From now on this happens to commits.
    pub fn harm(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// Stops everything on all connections, which stay.
    pub fn half_open(&self) {
        self.shared.flow.send_replace(Flow::HalfOpen);
    }

    /// Ends all connections and takes no more.
    pub fn refuse(&self) {
        self.shared.flow.send_replace(Flow::Refused);
    }

    /// Lets everything through, also what was held up.
    pub fn open(&self) {
        self.shared.flow.send_replace(Flow::Open);
    }

    /// How many commits there were, and to how many of them something happened.
    pub fn commits(&self) -> (u64, u64) {
        let Counts { commits, harmed } = &self.shared.counts;
        (commits.load(Ordering::Relaxed), harmed.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.refuse();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.flow.borrow() == Flow::Refused {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut flow = shared.flow.subscribe();
            let ended = async move { flow.wait_for(|flow| *flow == Flow::Refused).await.map(drop) };
            tokio::select! {
                // How a connection ends, its client and its server see themselves.
                _ = between(client, &shared) => {}
                _ = ended => {}
            }
        });
    }
}

async fn between(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    shared.flowing().await;
    let port = shared.server.get_ports().first().copied().unwrap_or(5_432);
    match shared.server.get_hosts().first() {
        Some(Host::Unix(folder)) => {
            let server = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
            let (from_server, to_server) = server.into_split();
            relay(shared, Side::new(from_client, to_client), Side::new(from_server, to_server)).await
        }
        Some(Host::Tcp(host)) => {
            let (from_server, to_server) = TcpStream::connect((host.as_str(), port)).await?.into_split();
            relay(shared, Side::new(from_client, to_client), Side::new(from_server, to_server)).await
        }
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// One end of the connection, read message by message.
struct Side<R, W> {
    from: R,
    to: W,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Side<R, W> {
    fn new(from: R, to: W) -> Self {
        Self { from, to, read: BytesMut::new() }
    }

    /// The next message; the first of a client has no type. May be dropped and called again.
    async fn message(&mut self, typed: bool) -> io::Result<BytesMut> {
        let head = if typed { 5 } else { 4 };
        loop {
            if self.read.len() >= head {
                let length = (&self.read[head - 4..]).get_u32() as usize + head - 4;
                if self.read.len() >= length {
                    return Ok(self.read.split_to(length));
                }
            }
            if self.from.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Up to the message that says that it is ready.
    async fn answer(&mut self) -> io::Result<()> {
        while self.message(true).await?.first() != Some(&b'Z') {}
        Ok(())
    }
}

/// What happens to one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    None,
    Refused,
    AnswerLost,
    RequestLost,
    Late,
    Delayed,
}

impl Shared {
    async fn flowing(&self) {
        // It fails only where there is no proxy any more.
        let mut flow = self.flow.subscribe();
        drop(flow.wait_for(|flow| *flow == Flow::Open).await);
    }

    fn harm(&self) -> (Harm, Duration) {
        let faults = *lock(&self.faults);
        let mut thrown: f64 = lock(&self.dice).random();
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        let shares = [
            (Harm::Refused, faults.refused),
            (Harm::AnswerLost, faults.answer_lost),
            (Harm::RequestLost, faults.request_lost),
            (Harm::Late, faults.late),
            (Harm::Delayed, faults.delayed),
        ];
        for (harm, share) in shares {
            if thrown < share {
                self.counts.harmed.fetch_add(1, Ordering::Relaxed);
                return (harm, faults.delay);
            }
            thrown -= share;
        }
        (Harm::None, faults.delay)
    }
}

async fn relay<CR, CW, SR, SW>(shared: &Shared, mut client: Side<CR, CW>, mut server: Side<SR, SW>) -> io::Result<()>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    SR: AsyncRead + Unpin,
    SW: AsyncWrite + Unpin,
{
    let begin = client.message(false).await?;
    server.to.write_all(&begin).await?;
    // What the client has said and the server was not told, up to the message that asks for an answer.
    let mut asked = BytesMut::new();
    let (mut begun, mut answering, mut in_transaction) = (false, false, false);
    loop {
        let said = tokio::select! {
            // One request after the other, also if a client does not wait: whether one ends a transaction depends on those before.
            message = client.message(true), if !begun || !answering => message?,
            message = server.message(true) => {
                let message = message?;
                if message[0] == b'Z' {
                    (begun, answering) = (true, false);
                    in_transaction = message[5] != b'I';
                }
                shared.flowing().await;
                client.to.write_all(&message).await?;
                continue;
            }
        };
        let whole = matches!(said[0], b'Q' | b'S' | b'p' | b'X');
        asked.extend_from_slice(&said);
        if !whole {
            continue;
        }
        shared.flowing().await;
        let request = asked.split();
        answering = true;
        if !commits(&request, in_transaction) {
            server.to.write_all(&request).await?;
            continue;
        }
        match shared.harm() {
            (Harm::None, _) => server.to.write_all(&request).await?,
            (Harm::Delayed, delay) => {
                tokio::time::sleep(delay).await;
                server.to.write_all(&request).await?;
            }
            (Harm::Refused, _) => {
                if in_transaction {
                    server.to.write_all(b"Q\0\0\0\x0dROLLBACK\0").await?;
                    server.answer().await?;
                    in_transaction = false;
                }
                client.to.write_all(&refusal()).await?;
                answering = false;
            }
            (Harm::RequestLost, _) => return Ok(()),
            (Harm::AnswerLost, _) => {
                server.to.write_all(&request).await?;
                return server.answer().await;
            }
            (Harm::Late, delay) => {
                drop(client);
                tokio::time::sleep(delay).await;
                server.to.write_all(&request).await?;
                return server.answer().await;
            }
        }
    }
}

/// Whether a request ends a transaction, or is a change in one of its own.
fn commits(request: &[u8], in_transaction: bool) -> bool {
    let has = |word: &[u8]| request.windows(word.len()).any(|window| window == word);
    if in_transaction {
        request[0] == b'Q' && has(b"COMMIT")
    } else {
        request[0] == b'P' && [&b"INSERT"[..], b"UPDATE", b"DELETE"].iter().any(|word| has(word))
    }
}

/// An error with the code of a transaction that met another one, and that the server is ready.
fn refusal() -> Vec<u8> {
    let fields = b"SERROR\0VERROR\0C40001\0Mcould not serialize access (by the proxy)\0\0";
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    [&b"E"[..], &length.to_be_bytes(), fields, b"Z\0\0\0\x05I"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_a_transaction_or_is_one_counts_as_a_commit() {
        let parse = |statement: &str| [b"P\0\0\0\0\0", statement.as_bytes()].concat();
        let query = |statement: &str| [b"Q\0\0\0\0", statement.as_bytes()].concat();
        assert!(commits(&parse("INSERT INTO live"), false) && !commits(&parse("INSERT INTO live"), true));
        assert!(commits(&query("COMMIT"), true) && !commits(&query("ROLLBACK"), true));
        assert!(!commits(&parse("SELECT 1"), false) && !commits(&query("BEGIN"), false));
    }
}
