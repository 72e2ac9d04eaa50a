//! A method that takes one request: its contract, and its call over the seam.
//!
//! The engine knows a call by its path and its stored bytes. Here it meets the generated types again: the bytes become
//! the typed request, tonic makes the call over the channel, and the bytes of the answer go back. Of a method
//! that answers with a stream, the answer is all its responses, collected in one message.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::rpc::{Method, Rpc};
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::{Request, Response, Status};

use crate::channel::{Received, Seam, Stored};
use crate::codec::Codec;

/// A method: its contract, and how it is called.
pub struct MethodEntry {
    /// The contract.
    pub method: &'static Method,
    /// Full name of the message that all its responses are collected in; none if it answers with one.
    pub collected: Option<&'static str>,
    /// Calls the method over the seam. The request is the stored message, which is sent as it
    /// is; metadata and extensions of it reach the seam. The answer is the response message as it was received.
    ///
    /// A status that the seam did not make has [`Undecodable`] as its source.
    pub call: fn(Seam, Request<Bytes>) -> BoxFuture<'static, Result<Bytes, Status>>,
}

impl MethodEntry {
    /// A method that answers with one message. For generated code.
    #[must_use]
    pub const fn unary<R: Rpc<Request: Default>>() -> Self {
        Self { method: R::METHOD, collected: None, call: call_unary::<R> }
    }

    /// A method that answers with a stream, and the message that it is collected in. For generated code.
    #[must_use]
    pub const fn collecting<R: Rpc<Request: Default>>(collected: &'static str) -> Self {
        Self { method: R::METHOD, collected: Some(collected), call: call_stream::<R> }
    }
}

impl fmt::Debug for MethodEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodEntry").field("method", self.method).finish_non_exhaustive()
    }
}

/// The stored bytes are not a request of the method. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the stored request of {path} does not decode as {request}: {source}")]
pub struct Undecodable {
    path: &'static str,
    request: &'static str,
    source: prost::DecodeError,
}

fn call_unary<R: Rpc<Request: Default>>(
    seam: Seam,
    request: Request<Bytes>,
) -> BoxFuture<'static, Result<Bytes, Status>> {
    // Outside of the future, which would keep room for what this takes until the answer is there.
    let request = match typed::<R>(request) {
        Ok(request) => request,
        Err(status) => return Box::pin(std::future::ready(Err(status))),
    };
    let mut client = client(seam);
    Box::pin(async move {
        client.ready().await?;
        let path = PathAndQuery::from_static(R::METHOD.path);
        received(client.unary(request, path, Codec::<R::Request, R::Response>::default()).await?)
    })
}

fn call_stream<R: Rpc<Request: Default>>(
    seam: Seam,
    request: Request<Bytes>,
) -> BoxFuture<'static, Result<Bytes, Status>> {
    let request = match typed::<R>(request) {
        Ok(request) => request,
        Err(status) => return Box::pin(std::future::ready(Err(status))),
    };
    let mut client = client(seam);
    Box::pin(async move {
        client.ready().await?;
        let path = PathAndQuery::from_static(R::METHOD.path);
        // The seam has collected the stream, so there is nothing to read from it.
        let message = received(client.server_streaming(request, path, Codec::<R::Request, ()>::default()).await?)?;
        match R::Response::decode(message.clone()) {
            Ok(_) => Ok(message),
            Err(error) => Err(Status::internal(format!("failed to decode a response of {}: {error}", R::METHOD.path))),
        }
    })
}

/// The channel bounds what it receives, and says so as its own outcome.
fn client(seam: Seam) -> Grpc<Seam> {
    Grpc::new(seam).max_decoding_message_size(usize::MAX)
}

/// The typed request of a call, which carries its stored bytes for the seam to send.
fn typed<R: Rpc<Request: Default>>(request: Request<Bytes>) -> Result<Request<R::Request>, Status> {
    let (metadata, mut extensions, stored) = request.into_parts();
    let message = R::Request::decode(stored.clone()).map_err(|source| {
        let request = std::any::type_name::<R::Request>();
        let undecodable = Undecodable { path: R::METHOD.path, request, source };
        let mut status = Status::internal(undecodable.to_string());
        status.set_source(Arc::new(undecodable));
        status
    })?;
    extensions.insert(Stored(stored));
    Ok(Request::from_parts(metadata, extensions, message))
}

/// The bytes of an answer, as the seam left them in its extensions. Without them the call was made, and its answer is
/// lost.
fn received<M>(response: Response<M>) -> Result<Bytes, Status> {
    let (_, _, mut extensions) = response.into_parts();
    match extensions.remove::<Received>() {
        Some(Received(message)) => Ok(message),
        None => Err(Status::internal("the channel handed on an answer without its bytes")),
    }
}
