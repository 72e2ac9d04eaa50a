//! The echo service: what the workflows call, and the limit that they are compared with.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::proto::bench::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use crate::proto::bench::echo::v1::effect_service_server::{EffectService, EffectServiceServer};
use crate::proto::bench::echo::v1::{
    ActRequest, ActResponse, ReadAccountRequest, ReadAccountResponse, ReadRequest, ReadResponse, ReleaseRequest,
    ReleaseResponse, WriteRequest, WriteResponse,
};
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use account::Account;
pub(crate) use account::{micros, now, span};

mod account;

/// Above every number of calls in flight that is measured, so that this side is never what limits them.
const MAX_STREAMS: u32 = 20_000;

/// How the service answers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// How long it takes,
    pub(crate) delay: Duration,
    /// and how long where the call is for an effect.
    pub(crate) effect_delay: Duration,
    /// Once so many effects were answered, further ones wait until they are released.
    pub(crate) hold_after: Option<usize>,
}

#[derive(Clone)]
struct Echo {
    manner: Manner,
    account: Arc<Mutex<Account>>,
    released: watch::Sender<bool>,
}

impl Echo {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the release where enough was answered.
    async fn hold(&self) {
        if self.manner.hold_after.is_some_and(|enough| self.account().count_answered() >= enough) {
            let mut released = self.released.subscribe();
            // The sender lives as long as the service, so the wait ends with the release.
            let _released = released.wait_for(|released| *released).await;
        }
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        pause(self.manner.delay).await;
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        pause(self.manner.delay).await;
        Ok(Response::new(WriteResponse { payload: request.into_inner().payload }))
    }
}

#[tonic::async_trait]
impl EffectService for Echo {
    async fn act(&self, request: Request<ActRequest>) -> Result<Response<ActResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let key = metadata.get("idempotency-key").map(tonic::metadata::MetadataValue::as_encoded_bytes);
        self.account().begun(&request, key);
        pause(self.manner.effect_delay).await;
        self.hold().await;
        self.account().answered(&request.effect);
        Ok(Response::new(ActResponse { payload: request.payload }))
    }

    async fn read_account(
        &self,
        request: Request<ReadAccountRequest>,
    ) -> Result<Response<ReadAccountResponse>, Status> {
        Ok(Response::new(self.account().read(request.into_inner().since_micros)))
    }

    async fn release(&self, _request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        self.released.send_replace(true);
        Ok(Response::new(ReleaseResponse {}))
    }
}

/// Serves until it is killed; its address is the one line on stdout.
pub(crate) async fn serve(manner: Manner) -> anyhow::Result<()> {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    std::io::stdout().flush()?;
    let echo = Echo { manner, account: Arc::default(), released: watch::Sender::new(false) };
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(EchoServiceServer::new(echo.clone()))
        .add_service(EffectServiceServer::new(echo))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
