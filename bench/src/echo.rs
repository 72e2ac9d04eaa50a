//! The echo service: what the workflows call, and the limit that they are compared with.

use std::io::Write;
use std::time::Duration;

use clients::bench::echo::v1::echo_service_server::{EchoService, EchoServiceServer};
use clients::bench::echo::v1::{ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Above every number of calls in flight that is measured, so that this side is never what limits them.
const MAX_STREAMS: u32 = 20_000;

struct Echo {
    delay: Duration,
}

impl Echo {
    async fn pause(&self) {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }
}

#[tonic::async_trait]
impl EchoService for Echo {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        self.pause().await;
        Ok(Response::new(ReadResponse { payload: request.into_inner().payload }))
    }

    async fn write(&self, request: Request<WriteRequest>) -> Result<Response<WriteResponse>, Status> {
        self.pause().await;
        Ok(Response::new(WriteResponse { payload: request.into_inner().payload }))
    }
}

/// Serves until it is killed; its address is the one line on stdout.
pub(crate) async fn serve(delay: Duration) -> anyhow::Result<()> {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?.with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    std::io::stdout().flush()?;
    tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(EchoServiceServer::new(Echo { delay }))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
