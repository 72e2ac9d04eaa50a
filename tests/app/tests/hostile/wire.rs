//! HTTP/2 without manners: requests that are not finished, and answers that are not read.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A connection whose windows have so many bytes.
pub(crate) async fn connect(address: SocketAddr, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let (send, connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
    // However it ends.
    let task = tokio::spawn(async move { drop(connection.await) });
    (send.ready().await.unwrap(), task)
}

/// The message as gRPC frames it.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// Begins a call of this method; none where the connection takes no more.
pub(crate) async fn begin(send: &mut SendRequest<Bytes>, path: &str) -> Option<(ResponseFuture, SendStream<Bytes>)> {
    let request = Request::post(format!("http://orchestrator{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    std::future::poll_fn(|cx| send.poll_ready(cx)).await.ok()?;
    send.send_request(request, false).ok()
}

/// Sends as much of this as is taken.
pub(crate) async fn pour(stream: &mut SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(Ok(taken)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        if stream.send_data(bytes.split_to(taken.min(bytes.len())), false).is_err() {
            return;
        }
    }
}
