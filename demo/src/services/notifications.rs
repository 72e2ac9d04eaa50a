//! Notifications: who is due, their devices, and the pushes that went out.

use std::collections::{BTreeMap, HashSet};

use clients::guras::notifications::v1::notification_service_server::{NotificationService, NotificationServiceServer};
use clients::guras::notifications::v1::*;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::feed::Feed;
use crate::paging::{self, page};
use crate::rules;
use crate::seed;
use crate::services::{answer, check_text};
use crate::settings::Settings;
use crate::shared::{Shared, from_proto, now};

#[derive(Clone)]
pub(crate) struct Notifications {
    state: Shared<State>,
    time_scale: f64,
    feed: Feed,
}

#[derive(Default)]
pub(crate) struct State {
    users: BTreeMap<String, Recipient>,
    /// Tokens that the push provider no longer knows.
    dead: HashSet<String>,
    /// Delivered since the start.
    pushes: i64,
    /// The day of the last push, counted from 1970, and the pushes before it.
    today: (i64, i64),
    /// Part of every slot, so that no slot of an earlier world comes back.
    era: i64,
}

#[derive(Default)]
struct Recipient {
    preferences: Preferences,
    tokens: BTreeMap<String, DeviceToken>,
    /// Slots that were closed.
    closed: u64,
}

impl State {
    fn seeded(settings: &Settings) -> Self {
        let mut state = Self { era: now().seconds, ..Self::default() };
        for n in 0..settings.users {
            let mut recipient = Recipient { preferences: seed::preferences(n, settings), ..Recipient::default() };
            for (token, alive) in seed::device_tokens(n) {
                if !alive {
                    state.dead.insert(token.token.clone());
                }
                recipient.tokens.insert(token.token.clone(), token);
            }
            state.users.insert(seed::user_id(n), recipient);
        }
        state
    }

    fn count_push(&mut self) {
        let day = today();
        if self.today.0 != day {
            self.today = (day, self.pushes);
        }
        self.pushes += 1;
    }

    fn pushes_today(&self) -> i64 {
        let (day, before) = self.today;
        if day == today() { self.pushes - before } else { 0 }
    }

    fn slot(&self, recipient: &Recipient) -> String {
        format!("{}-{}", self.era, recipient.closed + 1)
    }
}

fn today() -> i64 {
    now().seconds / (24 * 3_600)
}

impl Notifications {
    pub(crate) fn new(settings: &Settings) -> Self {
        let state = Shared::new(State::seeded(settings));
        Self { state, time_scale: settings.time_scale, feed: settings.feed.clone() }
    }

    pub(crate) fn reset(&self, settings: &Settings) {
        self.state.with(|state| *state = State::seeded(settings));
    }

    pub(crate) fn server(&self) -> NotificationServiceServer<Self> {
        NotificationServiceServer::new(self.clone())
    }

    /// A user gets a new device; users that never were get their first.
    pub(crate) fn add_device(&self, user_id: &str, token: DeviceToken) {
        self.state.with(|state| {
            state.users.entry(user_id.to_owned()).or_default().tokens.insert(token.token.clone(), token);
        });
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "SendPush" => SendPushRequest::decode(message)
            .ok()
            .map(|request| format!("push:{}/{}/{}", request.user_id, request.slot, request.token)),
        "MarkNotified" => MarkNotifiedRequest::decode(message)
            .ok()
            .map(|request| format!("notified:{}/{}", request.user_id, request.slot)),
        "RemoveDeviceToken" => RemoveDeviceTokenRequest::decode(message)
            .ok()
            .map(|request| format!("token-removed:{}/{}", request.user_id, request.token)),
        "RegisterDeviceToken" => RegisterDeviceTokenRequest::decode(message)
            .ok()
            .map(|request| format!("token:{}/{}", request.user_id, request.token)),
        "PutPreferences" => {
            PutPreferencesRequest::decode(message).ok().map(|request| format!("preferences:{}", request.user_id))
        }
        "DeleteUserData" => DeleteUserDataRequest::decode(message)
            .ok()
            .map(|request| format!("notifications-delete:{}", request.user_id)),
        _ => None,
    }
}

#[tonic::async_trait]
impl NotificationService for Notifications {
    async fn get_preferences(
        &self,
        request: Request<GetPreferencesRequest>,
    ) -> Result<Response<GetPreferencesResponse>, Status> {
        let id = request.into_inner().user_id;
        let preferences = self.state.with(|state| state.users.get(&id).map(|user| user.preferences.clone()));
        match preferences {
            Some(preferences) => answer(GetPreferencesResponse { preferences: Some(preferences) }, false),
            None => Err(Status::not_found(format!("no preferences of user {id}"))),
        }
    }

    async fn put_preferences(
        &self,
        request: Request<PutPreferencesRequest>,
    ) -> Result<Response<PutPreferencesResponse>, Status> {
        let request = request.into_inner();
        let mut preferences = request.preferences.ok_or_else(|| Status::invalid_argument("preferences must be set"))?;
        self.state.with(|state| {
            let user = state.users.entry(request.user_id).or_default();
            preferences.last_notified_time = user.preferences.last_notified_time;
            user.preferences = preferences.clone();
        });
        answer(PutPreferencesResponse { preferences: Some(preferences) }, true)
    }

    async fn list_due_recipients(
        &self,
        request: Request<ListDueRecipientsRequest>,
    ) -> Result<Response<ListDueRecipientsResponse>, Status> {
        let request = request.into_inner();
        let as_of = request
            .as_of
            .and_then(from_proto)
            .ok_or_else(|| Status::invalid_argument("as_of must be set to a valid time"))?;
        let due: Vec<(String, DueRecipient)> = self.state.with(|state| {
            let is_due = |user: &&Recipient| rules::is_due(&user.preferences, as_of, self.time_scale);
            let due = state.users.iter().filter(|(_, user)| is_due(user)).map(|(user_id, user)| {
                let teacher_id = user.preferences.teacher_id.clone();
                let recipient = DueRecipient { user_id: user_id.clone(), slot: state.slot(user), teacher_id };
                (user_id.clone(), recipient)
            });
            due.collect()
        });
        let (recipients, next_page_token) =
            page(due, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListDueRecipientsResponse { recipients, next_page_token }, false)
    }

    async fn mark_notified(
        &self,
        request: Request<MarkNotifiedRequest>,
    ) -> Result<Response<MarkNotifiedResponse>, Status> {
        let request = request.into_inner();
        let closed = self.state.with(|state| {
            let open = state.users.get(&request.user_id).map(|user| state.slot(user));
            match state.users.get_mut(&request.user_id) {
                Some(user) if open.as_deref() == Some(&request.slot) => {
                    user.closed += 1;
                    user.preferences.last_notified_time = Some(request.notified_time.unwrap_or_else(now));
                    true
                }
                _ => false,
            }
        });
        answer(MarkNotifiedResponse { closed }, closed)
    }

    async fn list_device_tokens(
        &self,
        request: Request<ListDeviceTokensRequest>,
    ) -> Result<Response<ListDeviceTokensResponse>, Status> {
        let request = request.into_inner();
        let tokens = self.state.with(|state| state.users.get(&request.user_id).map(|user| user.tokens.clone()));
        let (device_tokens, next_page_token) =
            page(tokens.unwrap_or_default(), request.page_size, &request.page_token, 100, 100)?;
        answer(ListDeviceTokensResponse { device_tokens, next_page_token }, false)
    }

    async fn register_device_token(
        &self,
        request: Request<RegisterDeviceTokenRequest>,
    ) -> Result<Response<RegisterDeviceTokenResponse>, Status> {
        let request = request.into_inner();
        check_text("token", &request.token, 500)?;
        let token = DeviceToken { token: request.token, platform: request.platform, create_time: Some(now()) };
        self.state.with(|state| {
            for user in state.users.values_mut() {
                user.tokens.remove(&token.token);
            }
            state.dead.remove(&token.token);
        });
        self.add_device(&request.user_id, token.clone());
        answer(RegisterDeviceTokenResponse { device_token: Some(token) }, true)
    }

    async fn remove_device_token(
        &self,
        request: Request<RemoveDeviceTokenRequest>,
    ) -> Result<Response<RemoveDeviceTokenResponse>, Status> {
        let request = request.into_inner();
        let removed = self.state.with(|state| {
            state.users.get_mut(&request.user_id).and_then(|user| user.tokens.remove(&request.token)).is_some()
        });
        answer(RemoveDeviceTokenResponse {}, removed)
    }

    async fn send_push(&self, request: Request<SendPushRequest>) -> Result<Response<SendPushResponse>, Status> {
        let request = request.into_inner();
        check_text("title", &request.title, 100)?;
        check_text("body", &request.body, 2_000)?;
        let message = self.state.with(|state| {
            let known = state.users.get(&request.user_id).is_some_and(|user| user.tokens.contains_key(&request.token));
            (known && !state.dead.contains(&request.token)).then(|| {
                state.count_push();
                state.pushes
            })
        });
        let Some(number) = message else {
            return answer(
                SendPushResponse { outcome: PushOutcome::TokenUnregistered.into(), message_id: String::new() },
                false,
            );
        };
        self.feed.tell(format!("push to {}: {}", seed::display_name(&request.user_id), request.body));
        let message_id = format!("push-{number}");
        answer(SendPushResponse { outcome: PushOutcome::Delivered.into(), message_id }, true)
    }

    async fn get_statistics(
        &self,
        _: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let statistics = self.state.with(|state| GetStatisticsResponse {
            users: count(state.users.len()),
            enabled_users: count(state.users.values().filter(|user| user.preferences.enabled).count()),
            device_tokens: count(state.users.values().map(|user| user.tokens.len()).sum()),
            pushes_today: state.pushes_today(),
        });
        answer(statistics, false)
    }

    async fn delete_user_data(
        &self,
        request: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        let user = self.state.with(|state| state.users.remove(&request.into_inner().user_id));
        let tokens = user.as_ref().map_or(0, |user| user.tokens.len());
        let deleted_device_tokens = i32::try_from(tokens).unwrap_or(i32::MAX);
        answer(DeleteUserDataResponse { deleted_device_tokens }, user.is_some())
    }
}
