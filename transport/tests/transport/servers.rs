//! Whole servers, where a test is about which of several is called.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use test_contracts::test::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use test_contracts::test::echo::v1::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// An echo service with a runtime of its own, so that it can be stopped as if the machine had gone.
pub struct Server {
    pub address: SocketAddr,
    calls: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
    leave: watch::Sender<bool>,
    health: Option<HealthReporter>,
    served: JoinHandle<()>,
    runtime: Option<Runtime>,
}

struct Echo {
    calls: Arc<AtomicUsize>,
    open: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let _ = self.open.clone().wait_for(|open| *open).await;
        Ok(Response::new(WriteResponse { payload: request.into_inner().payload }))
    }
}

impl Server {
    /// Without a health service.
    pub async fn start() -> Self {
        Self::at(([127, 0, 0, 1], 0).into()).await
    }

    /// The same on this address.
    pub async fn at(address: SocketAddr) -> Self {
        Self::build(address, false).await
    }

    /// With a health service that says that it serves.
    pub async fn healthy() -> Self {
        Self::build(([127, 0, 0, 1], 0).into(), true).await
    }

    async fn build(address: SocketAddr, with_health: bool) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind(address).await.unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, open, leave) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(true), watch::Sender::new(false));
        let echo = EchoServiceServer::new(Echo { calls: Arc::clone(&calls), open: open.subscribe() });
        let (health, health_service) = tonic_health::server::health_reporter();
        let health_service = with_health.then_some(health_service);
        let mut leaving = leave.subscribe();
        let served = runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let builder = tonic::transport::Server::builder().add_service(echo).add_optional_service(health_service);
            let left = async move { drop(leaving.wait_for(|leave| *leave).await) };
            builder.serve_with_incoming_shutdown(incoming, left).await.unwrap();
        });
        let health = with_health.then_some(health);
        Self { address, calls, open, leave, health, served, runtime: Some(runtime) }
    }

    /// Calls that have come in since this was last asked.
    pub fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }

    /// The same, to be asked again.
    pub fn seen(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Answers from here on, or keeps calls waiting.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Says so to all who watch its health.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.as_ref().unwrap().set_service_status("", status).await;
    }

    /// Takes no more calls (GOAWAY), and finishes those that it has.
    pub fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// Waits until it has ended, its connections included.
    pub async fn has_left(&mut self) {
        (&mut self.served).await.unwrap();
    }

    /// Is gone, with all its connections.
    pub fn die(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
