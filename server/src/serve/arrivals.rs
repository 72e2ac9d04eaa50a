//! Where connections come from: each kind of listener, what a connection of it is read and written through, and what it says
//! of its caller.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use transport::channel::ServedTls;

use super::listeners::Socket;
use crate::access::Shown;

/// The bytes of a connection.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// What a listener is to those who accept from it.
pub(super) trait Arrivals: Send + 'static {
    /// A connection that has not said anything.
    type Raw: Send + 'static;

    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Self::Raw>> + Send;

    /// What a connection begins with. Whoever calls this bounds its time.
    fn greet(&self) -> impl Fn(Self::Raw) -> Greeting + Send + Sync + 'static;
}

/// A connection that is ready, and what it says of its caller.
pub(super) type Greeting = std::pin::Pin<Box<dyn Future<Output = io::Result<(Box<dyn Bytes>, Shown)>> + Send>>;

/// A listener over TCP, which encrypts where that is configured.
pub(super) struct Tcp {
    listener: TcpListener,
    tls: Option<Arc<ServedTls>>,
}

impl Tcp {
    pub(super) fn new(listener: TcpListener, tls: Option<Arc<ServedTls>>) -> Self {
        Self { listener, tls }
    }
}

impl Arrivals for Tcp {
    type Raw = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        stream.set_nodelay(true).map(|()| stream)
    }

    fn greet(&self) -> impl Fn(TcpStream) -> Greeting + Send + Sync + 'static {
        let tls = self.tls.clone();
        move |stream| {
            let tls = tls.clone();
            Box::pin(async move {
                let Some(tls) = tls else { return Ok((Box::new(stream) as Box<dyn Bytes>, Shown::Nothing)) };
                let (stream, shown) = tls.accept(stream).await?;
                let shown = shown.map_or(Shown::Nothing, |certificate| Shown::Certificate(Arc::new(certificate)));
                Ok((Box::new(stream) as Box<dyn Bytes>, shown))
            })
        }
    }
}

impl Arrivals for Socket {
    type Raw = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn greet(&self) -> impl Fn(UnixStream) -> Greeting + Send + Sync + 'static {
        |stream| {
            Box::pin(async move {
                let user = stream.peer_cred()?.uid();
                Ok((Box::new(stream) as Box<dyn Bytes>, Shown::User(user)))
            })
        }
    }
}
