//! How a byte stream to one address is opened.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::lost::Lost;
use super::peer::Peer;
use super::stream::Stream;

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

#[cfg(test)]
mod tests {
    use std::path::Path;

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
