//! How a byte stream to one address is opened, and the streams there are.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::connection::Lost;

/// Where a peer listens, with every name in it looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// A port of a host.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(Arc<Path>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Opens a stream to the peer. How long that may take is for the caller.
///
/// # Errors
/// [`Lost::Connect`].
pub(crate) async fn dial(peer: &Peer) -> Result<Stream, Lost> {
    let opened = match peer {
        Peer::Tcp(address) => tcp(*address).await.map(Stream::Tcp),
        Peer::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    };
    opened.map_err(|source| Lost::Connect { peer: peer.clone(), source })
}

async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A small message must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An open stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Encrypted, over any other.
    Tls(Box<TlsStream<Stream>>),
}

/// The same call on whatever the stream is.
macro_rules! on {
    ($stream:expr, $io:ident => $call:expr) => {
        match &mut *$stream {
            Stream::Tcp($io) => $call,
            Stream::Unix($io) => $call,
            Stream::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Unix(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_port_is_connected_without_delay_of_small_messages() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(&Peer::Tcp(listener.local_addr().unwrap())).await.unwrap();
        let Stream::Tcp(stream) = stream else { panic!("{stream:?}") };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_socket_in_the_file_system_is_connected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer");
        let listener = UnixListener::bind(&path).unwrap();
        let mut stream = dial(&Peer::Unix(path.into())).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        peer.read_exact(&mut read).await.unwrap();
        peer.write_all(&read).await.unwrap();
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
    }

    #[tokio::test]
    async fn a_failed_connect_names_the_peer() {
        let lost = dial(&Peer::Unix(Path::new("/nowhere/peer").into())).await.unwrap_err();
        assert!(lost.to_string().starts_with("cannot connect to unix:/nowhere/peer: "), "{lost}");
    }
}
