//! Users: who there is.

use std::collections::{BTreeMap, HashMap};

use clients::guras::users::v1::user_service_server::{UserService, UserServiceServer};
use clients::guras::users::v1::*;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::paging::{self, page};
use crate::seed;
use crate::services::{answer, check_text};
use crate::settings::Settings;
use crate::shared::{Shared, now};

#[derive(Clone)]
pub(crate) struct Users(Shared<State>);

struct State {
    users: BTreeMap<String, User>,
    /// Users by the request that created them.
    requests: HashMap<String, String>,
}

impl State {
    fn seeded(settings: &Settings) -> Self {
        let users = (0..settings.users).map(|n| {
            let user = User {
                user_id: seed::user_id(n),
                email: format!("{}.{n}@guras.example", seed::name(n).to_lowercase()),
                name: seed::name(n).to_owned(),
                firebase_user_id: format!("firebase-{n:04}"),
                create_time: Some(now()),
                update_time: Some(now()),
            };
            (user.user_id.clone(), user)
        });
        Self { users: users.collect(), requests: HashMap::new() }
    }

    fn find(&self, what: &str, is_it: impl Fn(&User) -> bool) -> Result<User, Status> {
        self.users
            .values()
            .find(|user| is_it(user))
            .cloned()
            .ok_or_else(|| Status::not_found(format!("no user {what}")))
    }
}

impl Users {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Shared::new(State::seeded(settings)))
    }

    pub(crate) fn reset(&self, settings: &Settings) {
        self.0.with(|state| *state = State::seeded(settings));
    }

    pub(crate) fn server(&self) -> UserServiceServer<Self> {
        UserServiceServer::new(self.clone())
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "CreateUser" => CreateUserRequest::decode(message).ok().map(|request| format!("user:{}", request.email)),
        "UpdateUser" => {
            UpdateUserRequest::decode(message).ok().map(|request| format!("user-update:{}", request.user_id))
        }
        "DeleteUser" => {
            DeleteUserRequest::decode(message).ok().map(|request| format!("user-delete:{}", request.user_id))
        }
        _ => None,
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let id = request.into_inner().user_id;
        let user = self.0.with(|state| state.find(&format!("with id {id}"), |user| user.user_id == id))?;
        answer(GetUserResponse { user: Some(user) }, false)
    }

    async fn get_user_by_email(
        &self,
        request: Request<GetUserByEmailRequest>,
    ) -> Result<Response<GetUserByEmailResponse>, Status> {
        let email = request.into_inner().email;
        let is_it = |user: &User| user.email.eq_ignore_ascii_case(&email);
        let user = self.0.with(|state| state.find("with this e-mail", is_it))?;
        answer(GetUserByEmailResponse { user: Some(user) }, false)
    }

    async fn get_user_by_firebase_user_id(
        &self,
        request: Request<GetUserByFirebaseUserIdRequest>,
    ) -> Result<Response<GetUserByFirebaseUserIdResponse>, Status> {
        let id = request.into_inner().firebase_user_id;
        let user = self.0.with(|state| state.find("with this Firebase user id", |user| user.firebase_user_id == id))?;
        answer(GetUserByFirebaseUserIdResponse { user: Some(user) }, false)
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let request = request.into_inner();
        let all = self.0.with(|state| state.users.clone());
        let (users, next_page_token) =
            page(all, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListUsersResponse { users, next_page_token }, false)
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let request = request.into_inner();
        check_text("name", &request.name, 200)?;
        check_text("email", &request.email, 320)?;
        let (user, changed) = self.0.with(|state| {
            if let Some(user) = state.requests.get(&request.request_id).and_then(|id| state.users.get(id)) {
                return Ok((user.clone(), false));
            }
            let taken = |user: &User| {
                user.email.eq_ignore_ascii_case(&request.email) || user.firebase_user_id == request.firebase_user_id
            };
            if state.users.values().any(taken) {
                return Err(Status::already_exists("a user with this e-mail or Firebase user id"));
            }
            let user = User {
                user_id: uuid::Uuid::new_v4().to_string(),
                email: request.email.clone(),
                name: request.name.clone(),
                firebase_user_id: request.firebase_user_id.clone(),
                create_time: Some(now()),
                update_time: Some(now()),
            };
            if !request.request_id.is_empty() {
                state.requests.insert(request.request_id.clone(), user.user_id.clone());
            }
            state.users.insert(user.user_id.clone(), user.clone());
            Ok((user, true))
        })?;
        answer(CreateUserResponse { user: Some(user) }, changed)
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let request = request.into_inner();
        let user = self.0.with(|state| {
            let user = state.users.get_mut(&request.user_id).ok_or_else(|| Status::not_found("no such user"))?;
            user.email = request.email.unwrap_or_else(|| user.email.clone());
            user.name = request.name.unwrap_or_else(|| user.name.clone());
            user.update_time = Some(now());
            Ok::<_, Status>(user.clone())
        })?;
        answer(UpdateUserResponse { user: Some(user) }, true)
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let id = request.into_inner().user_id;
        self.0
            .with(|state| state.users.remove(&id))
            .ok_or_else(|| Status::not_found(format!("no user with id {id}")))?;
        answer(DeleteUserResponse {}, true)
    }
}
