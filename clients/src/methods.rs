//! Every method of every contract that takes one request, by its path, and its call through the generated client.
//!
//! The engine knows a call by its path and its stored bytes. Here it meets the generated code again: the bytes become
//! the typed request, the typed client makes the call over the channel, and the bytes of the answer go back. Of a method
//! that answers with a stream, the answer is all its responses, collected in one message.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use engine::rpc::{Method, Rpc};
use futures_util::future::BoxFuture;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use crate::channel::{Received, Seam, Stored};

/// A method: its contract, and how it is called.
pub struct MethodEntry {
    /// The contract.
    pub method: &'static Method,
    /// Full name of the message that all its responses are collected in; none where it answers with one.
    pub collected: Option<&'static str>,
    /// Calls the method with the generated client over the seam. The request is the stored message, which is sent as it
    /// is; metadata and extensions of it reach the seam. The answer is the response message as it was received.
    ///
    /// A status that the seam did not make has [`Undecodable`] as its source.
    pub call: fn(Seam, Request<Bytes>) -> BoxFuture<'static, Result<Bytes, Status>>,
}

impl fmt::Debug for MethodEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodEntry").field("method", self.method).finish_non_exhaustive()
    }
}

/// The method with this path (`/package.Service/Method`).
pub fn find(path: &str) -> Option<&'static MethodEntry> {
    static BY_PATH: LazyLock<HashMap<&str, &MethodEntry>> =
        LazyLock::new(|| all().map(|entry| (entry.method.path, entry)).collect());
    BY_PATH.get(path).copied()
}

/// Every method.
pub fn all() -> impl Iterator<Item = &'static MethodEntry> {
    crate::SERVICES.iter().copied().flatten()
}

/// The stored bytes are not a request of the method. Nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the stored request of {path} does not decode as {request}: {source}")]
pub struct Undecodable {
    path: &'static str,
    request: &'static str,
    source: prost::DecodeError,
}

/// The typed request of a call, which carries its stored bytes for the seam to send. For generated code.
///
/// # Errors
/// INTERNAL with [`Undecodable`] as its source.
pub fn typed<R: Rpc>(request: Request<Bytes>) -> Result<Request<R::Request>, Status>
where
    R::Request: Default,
{
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

/// The end of a call that is not made. For generated code.
#[must_use]
pub fn refused(status: Status) -> BoxFuture<'static, Result<Bytes, Status>> {
    Box::pin(std::future::ready(Err(status)))
}

/// The bytes of an answer, as the seam left them in its extensions. For generated code.
///
/// # Errors
/// INTERNAL where the seam left none: the call was made, and its answer is lost.
pub fn received<M>(response: Response<M>) -> Result<Bytes, Status> {
    let (_, _, mut extensions) = response.into_parts();
    match extensions.remove::<Received>() {
        Some(Received(message)) => Ok(message),
        None => Err(Status::internal("the channel handed on an answer without its bytes")),
    }
}

/// The same of an answer that was a stream. The seam has collected it, so there is nothing to read from the stream
/// itself. For generated code.
///
/// # Errors
/// INTERNAL where the seam left none, and where a response among them does not decode.
pub fn collected<R: Rpc, M>(response: Response<Streaming<M>>) -> Result<Bytes, Status> {
    let message = received(response)?;
    match R::Response::decode(message.clone()) {
        Ok(_) => Ok(message),
        Err(error) => Err(Status::internal(format!("failed to decode a response of {}: {error}", R::METHOD.path))),
    }
}
