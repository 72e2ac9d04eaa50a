//! Which addresses a name has, asked again and again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::lost::Lost;
use super::peer::Peer;

/// Looks names up.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of the host, with the port, in the order in which they should be tried.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The resolver of the operating system, with its files, search domains and servers.
#[derive(Clone, Copy, Debug)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// How the name of a service is resolved.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Who is asked.
    pub resolver: Arc<dyn Resolve>,
    /// How often, while all is well.
    pub interval: Duration,
    /// The shortest time between two questions: a connection that fails asks immediately, and no more often than this.
    pub min_interval: Duration,
    /// Time for an answer; the addresses that are known stay in use after it.
    pub timeout: Duration,
}

impl Default for Resolution {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            interval: Duration::from_secs(30),
            min_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
        }
    }
}

/// A name and the question for it that is under way.
pub(super) struct Name<'c> {
    host: &'c str,
    port: u16,
    resolution: &'c Resolution,
    /// A question that hangs is not asked a second time: each would hold a thread of the runtime.
    asked: Option<BoxFuture<'static, io::Result<Vec<SocketAddr>>>>,
}

impl<'c> Name<'c> {
    pub(super) fn new(host: &'c str, port: u16, resolution: &'c Resolution) -> Self {
        Self { host, port, resolution, asked: None }
    }

    /// The addresses as they are at the moment; at least one, each once.
    pub(super) async fn addresses(&mut self) -> Result<Vec<Peer>, Lost> {
        let asked = self.asked.get_or_insert_with(|| self.resolution.resolver.resolve(self.host, self.port));
        let answer = timeout(self.resolution.timeout, asked).await;
        let host = || self.host.to_owned();
        let answer = answer.map_err(|_| Lost::Unresolved { host: host(), within: self.resolution.timeout })?;
        self.asked = None;
        let mut peers = Vec::new();
        for peer in answer.map_err(|source| Lost::Resolve { host: host(), source })?.into_iter().map(Peer::Tcp) {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        if peers.is_empty() { Err(Lost::NoAddress { host: host() }) } else { Ok(peers) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    /// Answers when the test lets it, and counts the questions.
    #[derive(Debug, Default)]
    struct Slow {
        asked: AtomicUsize,
        answer: Mutex<Option<oneshot::Receiver<Vec<SocketAddr>>>>,
    }

    impl Resolve for Slow {
        fn resolve(&self, _host: &str, _port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer.lock().unwrap().take();
            async move { answer.unwrap().await.map_err(|_| io::Error::other("gone")) }.boxed()
        }
    }

    fn over(resolver: Slow) -> (Arc<Slow>, Resolution) {
        let resolver = Arc::new(resolver);
        (Arc::clone(&resolver), Resolution { resolver, ..Resolution::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_hangs_is_given_up_and_not_asked_twice() {
        let (answer, answered) = oneshot::channel();
        let (slow, resolution) = over(Slow { answer: Mutex::new(Some(answered)), ..Slow::default() });
        let mut name = Name::new("users", 1, &resolution);
        for _ in 0..2 {
            let lost = name.addresses().await.unwrap_err();
            assert_eq!(lost.to_string(), "the name users was not resolved within 5s");
        }
        let address: SocketAddr = "10.0.0.1:1".parse().unwrap();
        answer.send(vec![address, address]).unwrap();
        assert_eq!(name.addresses().await.unwrap(), [Peer::Tcp(address)]);
        assert_eq!(slow.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_an_error() {
        let (answer, answered) = oneshot::channel();
        let (_slow, resolution) = over(Slow { answer: Mutex::new(Some(answered)), ..Slow::default() });
        answer.send(Vec::new()).unwrap();
        let lost = Name::new("users", 1, &resolution).addresses().await.unwrap_err();
        assert_eq!(lost.to_string(), "the name users has no address");
    }

    #[tokio::test]
    async fn the_system_resolves_its_own_name() {
        let addresses = SystemResolver.resolve("localhost", 7).await.unwrap();
        assert!(addresses.iter().any(|address| address.ip().is_loopback() && address.port() == 7), "{addresses:?}");
    }
}
