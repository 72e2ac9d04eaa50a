//! The users service, as a server of its own: it can be slow, fail now and then, and counts what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use test_contracts::app::acme::users::v1::user_service_server::{UserService, UserServiceServer};
use test_contracts::app::acme::users::v1::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest, GetUserResponse, User,
};

/// How the service answers.
#[derive(Clone, Debug, Default)]
pub struct Users {
    /// Whether it knows every user that it is asked for, or none.
    pub knows_all: bool,
    /// How long each answer takes.
    pub delay: Duration,
    /// Whether every fifth creation fails before it is done, and every seventh after.
    pub is_unreliable: bool,
    /// What it was asked to create, and did.
    pub ledger: Ledger,
    /// How many calls it answers.
    pub crowd: Crowd,
}

/// Calls that are being answered.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<Mutex<(usize, usize)>>);

impl Crowd {
    /// The most that were at the same time so far.
    pub fn most(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// One more, until what is returned is dropped.
    fn enter(&self) -> Guest {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.0 += 1;
        counts.1 = counts.1.max(counts.0);
        Guest(self.clone())
    }
}

/// A call that is being answered.
struct Guest(Crowd);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).0 -= 1;
    }
}

/// The users that were to be created, by their e-mail address.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Created>>>);

/// What happened to one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// Calls that reached the service.
    pub calls: u64,
    /// Calls that created the user.
    pub acts: u64,
    /// The idempotency keys of the calls.
    pub keys: BTreeSet<String>,
    /// The idempotency keys of the calls that deleted the user.
    pub deleted_by: BTreeSet<String>,
}

impl Ledger {
    /// Every user that was asked for.
    pub fn users(&self) -> BTreeMap<String, Created> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts the deletion of the user that was created under this key.
    fn delete(&self, user_id: &str, key: String) {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.values_mut().find(|user| user.keys.contains(user_id)) {
            user.deleted_by.insert(key);
        }
    }

    /// Counts a call. Fails it if it has bad luck; acts unless one with this key did.
    fn create(&self, email: &str, key: &str, is_unreliable: bool) -> Result<(), Status> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = users.values().map(|user| user.calls).sum::<u64>() + 1;
        let user = users.entry(email.to_owned()).or_default();
        user.calls += 1;
        // Pauses between attempts double, so a user that failed twice has had its share.
        let is_unreliable = is_unreliable && user.calls <= 2;
        if is_unreliable && number.is_multiple_of(5) {
            return Err(Status::unavailable("before it was done"));
        }
        user.acts += u64::from(user.keys.insert(key.to_owned()));
        if is_unreliable && number.is_multiple_of(7) {
            return Err(Status::unavailable("after it was done"));
        }
        Ok(())
    }
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

fn key_of<M>(request: &Request<M>) -> String {
    let key = request.metadata().get("idempotency-key").and_then(|key| key.to_str().ok());
    key.unwrap_or_default().to_owned()
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let _guest = self.crowd.enter();
        tokio::time::sleep(self.delay).await;
        let user_id = request.into_inner().user_id;
        if !self.knows_all {
            return Err(Status::not_found(format!("there is no user {user_id}")));
        }
        Ok(Response::new(GetUserResponse { user: Some(User { user_id, ..User::default() }) }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let _guest = self.crowd.enter();
        tokio::time::sleep(self.delay).await;
        let key = key_of(&request);
        let CreateUserRequest { request_id, email, name } = request.into_inner();
        self.ledger.create(&email, &key, self.is_unreliable)?;
        Ok(Response::new(CreateUserResponse { user: Some(User { user_id: request_id, email, name }) }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        tokio::time::sleep(self.delay).await;
        let key = key_of(&request);
        self.ledger.delete(&request.into_inner().user_id, key);
        Ok(Response::new(DeleteUserResponse {}))
    }
}
