//! The middleware of every handler: the ledger, the faults and the deduplication, in this order.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::Service;

use crate::dedupe::{Memory, Turn};
use crate::faults::{FaultBook, When};
use crate::ledger::{Call, Fate, Ledger};
use crate::services::{self, NothingChanged};

/// Bytes before the message in the body of a unary call: compression flag and length.
const PREFIX: usize = 5;

/// The state that all services share.
pub(crate) struct Desk {
    pub(crate) ledger: Ledger,
    pub(crate) faults: FaultBook,
    memory: Memory<Answer>,
}

impl Desk {
    pub(crate) fn new(faults: FaultBook, dedupe_horizon: Duration) -> Self {
        Self { ledger: Ledger::new(), faults, memory: Memory::new(dedupe_horizon) }
    }

    pub(crate) fn clear(&self) {
        self.ledger.clear();
        self.faults.reset();
        self.memory.clear();
    }

    async fn serve(&self, routes: Routes, request: Request<Bytes>) -> Result<Answer, Status> {
        let path = request.uri().path().to_owned();
        let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let message = request.body().get(PREFIX..).unwrap_or_default();
        let call = Call { identity: services::identity(&path, message), key, path };
        self.ledger.entered(&call);

        let lot = self.faults.draw(&call.path);
        if lot.delay > Duration::ZERO {
            tokio::time::sleep(lot.delay).await;
        }
        if let Some((When::BeforeEffect, status)) = lot.failure {
            self.ledger.settled(&call, Fate::FailedBefore);
            return Err(status);
        }

        let (answer, turn) = match &call.key {
            Some(key) if honours_keys(&call.path) => {
                self.memory.once(&call.path, key, || handle(routes, request)).await?
            }
            _ => (handle(routes, request).await?, Turn::First),
        };
        match turn {
            Turn::Repeat => self.ledger.settled(&call, Fate::Deduplicated),
            Turn::First if answer.changed && call.identity.is_some() => self.ledger.settled(&call, Fate::Applied),
            Turn::First => (),
        }

        if let Some((When::AfterEffect, status)) = lot.failure {
            self.ledger.settled(&call, Fate::FailedAfter);
            return Err(status);
        }
        Ok(answer)
    }
}

/// A method keeps keys where its contract promises that a repeat is harmless.
fn honours_keys(path: &str) -> bool {
    clients::CONTRACTS.find(path).is_some_and(|entry| entry.method.level == engine::rpc::Level::Idempotent)
}

/// A successful response that can be given again.
#[derive(Clone)]
struct Answer {
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
    changed: bool,
}

async fn handle(mut routes: Routes, request: Request<Bytes>) -> Result<Answer, Status> {
    let response = match routes.call(request.map(|body| Body::new(Full::new(body)))).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let (parts, body) = response.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned();
    let status = Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(trailers.as_ref()?));
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    let changed = parts.extensions.get::<NothingChanged>().is_none();
    Ok(Answer { headers: parts.headers, body: collected.to_bytes(), trailers, changed })
}

/// The services of one listener behind the desk.
#[derive(Clone)]
pub(crate) struct Front {
    routes: Routes,
    desk: Arc<Desk>,
}

impl Front {
    pub(crate) fn new(routes: Routes, desk: Arc<Desk>) -> Self {
        Self { routes: routes.prepare(), desk }
    }
}

impl Service<Request<Body>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (routes, desk) = (self.routes.clone(), Arc::clone(&self.desk));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = match body.collect().await {
                Ok(body) => {
                    let request = Request::from_parts(parts, body.to_bytes());
                    // On a task of its own: a caller that gives up does not take back what it asked for.
                    match tokio::spawn(async move { desk.serve(routes, request).await }).await {
                        Ok(answer) => answer,
                        Err(_) => Err(Status::internal("the handler panicked")),
                    }
                }
                Err(status) => Err(status),
            };
            Ok(match answer {
                Ok(answer) => answer.into_http(),
                Err(status) => status.into_http(),
            })
        })
    }
}

impl Answer {
    fn into_http(self) -> Response<Body> {
        let trailers = std::future::ready(self.trailers.map(Ok));
        let mut response = Response::new(Body::new(Full::new(self.body).with_trailers(trailers)));
        *response.headers_mut() = self.headers;
        response
    }
}
