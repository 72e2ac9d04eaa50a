//! The users service, as a server of its own: it knows all users or none, and takes its time.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::contracts::acme::users::v1::user_service_server::{UserService, UserServiceServer};
use crate::contracts::acme::users::v1::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest, GetUserResponse, User,
};

/// How the service answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Users {
    /// Whether it knows every user that it is asked for, or none.
    pub knows_all: bool,
    /// How long each answer takes.
    pub delay: Duration,
}

impl Users {
    /// Serves on a free port of the loopback for as long as the runtime lives.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn serve(self) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = tonic::transport::Server::builder().add_service(UserServiceServer::new(self));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Ok(address)
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let user_id = request.into_inner().user_id;
        if !self.knows_all {
            return Err(Status::not_found(format!("there is no user {user_id}")));
        }
        Ok(Response::new(GetUserResponse { user: Some(User { user_id, ..User::default() }) }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let CreateUserRequest { request_id, email, name } = request.into_inner();
        Ok(Response::new(CreateUserResponse { user: Some(User { user_id: request_id, email, name }) }))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        Ok(Response::new(DeleteUserResponse {}))
    }
}
