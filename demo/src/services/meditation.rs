//! Meditation: what users practised, what it shows of them, and what was recommended.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use clients::guras::meditation::v1::meditation_service_server::{MeditationService, MeditationServiceServer};
use clients::guras::meditation::v1::*;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::paging::{self, page};
use crate::seed;
use crate::services::answer;
use crate::settings::Settings;
use crate::shared::{Shared, from_proto, newest_first, now, second_of_day};

#[derive(Clone)]
pub(crate) struct Meditation(Shared<State>);

struct State {
    /// By user.
    sessions: BTreeMap<String, Vec<Session>>,
    recommendations: BTreeMap<String, Vec<Recommendation>>,
    /// When a request was first answered.
    requests: HashMap<String, prost_types::Timestamp>,
}

impl State {
    fn seeded(settings: &Settings) -> Self {
        let sessions = (0..settings.users).map(|n| (seed::user_id(n), seed::sessions(n))).collect();
        Self { sessions, recommendations: BTreeMap::new(), requests: HashMap::new() }
    }
}

impl Meditation {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Shared::new(State::seeded(settings)))
    }

    pub(crate) fn reset(&self, settings: &Settings) {
        self.0.with(|state| *state = State::seeded(settings));
    }

    pub(crate) fn server(&self) -> MeditationServiceServer<Self> {
        MeditationServiceServer::new(self.clone())
    }

    fn sessions(&self, user_id: &str) -> Vec<Session> {
        self.0.with(|state| state.sessions.get(user_id).cloned().unwrap_or_default())
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "SaveRecommendations" => SaveRecommendationsRequest::decode(message)
            .ok()
            .map(|request| format!("recommendations:{}/{}", request.user_id, request.request_id)),
        "DeleteUserData" => {
            DeleteUserDataRequest::decode(message).ok().map(|request| format!("meditation-delete:{}", request.user_id))
        }
        _ => None,
    }
}

/// The most frequent values first, at most five.
fn most_used<T: Hash + Ord + Clone>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut counts: Vec<(T, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().take(5).map(|(value, _)| value).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

fn statistics(sessions: &[Session]) -> GetStatisticsResponse {
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let seconds: i64 = sessions.iter().filter_map(|session| session.real_duration).map(|real| real.seconds).sum();
    let completed = sessions.iter().filter(|session| session.completion_percent == 100).count();
    let ratings = sessions.iter().filter(|session| session.rating > 0).map(|session| f64::from(session.rating));
    let moods = sessions.iter().filter_map(|session| {
        Some(f64::from(session.after.as_ref()?.score) - f64::from(session.before.as_ref()?.score))
    });
    GetStatisticsResponse {
        sessions: count(sessions.len()),
        completed_sessions: count(completed),
        minutes: i32::try_from(seconds / 60).unwrap_or(i32::MAX),
        average_completion_percent: mean(sessions.iter().map(|session| f64::from(session.completion_percent))),
        average_rating: mean(ratings),
        mood_improvement: mean(moods),
    }
}

#[tonic::async_trait]
impl MeditationService for Meditation {
    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let all = self.sessions(&request.user_id).into_iter();
        let all = all.map(|session| (newest_first(session.start_time, &session.session_id), session));
        let (sessions, next_page_token) =
            page(all, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListSessionsResponse { sessions, next_page_token }, false)
    }

    async fn get_patterns(
        &self,
        request: Request<GetPatternsRequest>,
    ) -> Result<Response<GetPatternsResponse>, Status> {
        let sessions = self.sessions(&request.into_inner().user_id);
        let finished = sessions.iter().filter(|session| session.completion_percent == 100);
        let hours = finished.filter_map(|session| session.start_time.and_then(from_proto));
        let hours = hours.map(|time| i32::try_from(second_of_day(time) / 3_600).unwrap_or(0));
        let patterns = GetPatternsResponse {
            teacher_ids: most_used(sessions.iter().map(|session| session.teacher_id.clone())),
            themes: most_used(sessions.iter().map(|session| session.theme.clone())),
            best_hours: most_used(hours),
        };
        answer(patterns, false)
    }

    async fn get_statistics(
        &self,
        request: Request<GetStatisticsRequest>,
    ) -> Result<Response<GetStatisticsResponse>, Status> {
        let request = request.into_inner();
        let seconds = |time: Option<prost_types::Timestamp>| time.map_or(0, |time| time.seconds);
        let range = seconds(request.start_time)..seconds(request.end_time);
        let mut sessions = self.sessions(&request.user_id);
        sessions.retain(|session| range.contains(&seconds(session.start_time)));
        answer(statistics(&sessions), false)
    }

    async fn save_recommendations(
        &self,
        request: Request<SaveRecommendationsRequest>,
    ) -> Result<Response<SaveRecommendationsResponse>, Status> {
        let request = request.into_inner();
        if request.recommendations.len() > 10 {
            return Err(Status::invalid_argument("recommendations must be at most ten"));
        }
        let (save_time, changed) = self.0.with(|state| {
            if let Some(save_time) = state.requests.get(&request.request_id) {
                return (*save_time, false);
            }
            let save_time = now();
            if !request.request_id.is_empty() {
                state.requests.insert(request.request_id, save_time);
            }
            state.recommendations.insert(request.user_id, request.recommendations);
            (save_time, true)
        });
        answer(SaveRecommendationsResponse { save_time: Some(save_time) }, changed)
    }

    async fn list_recommendations(
        &self,
        request: Request<ListRecommendationsRequest>,
    ) -> Result<Response<ListRecommendationsResponse>, Status> {
        let request = request.into_inner();
        let all = self.0.with(|state| state.recommendations.get(&request.user_id).cloned()).unwrap_or_default();
        let all = all.into_iter().enumerate().map(|(position, item)| (format!("{position:03}"), item));
        let (recommendations, next_page_token) = page(all, request.page_size, &request.page_token, 10, 100)?;
        answer(ListRecommendationsResponse { recommendations, next_page_token }, false)
    }

    async fn delete_user_data(
        &self,
        request: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        let user_id = request.into_inner().user_id;
        let (sessions, recommendations) =
            self.0.with(|state| (state.sessions.remove(&user_id), state.recommendations.remove(&user_id)));
        let deleted = sessions.as_ref().map_or(0, Vec::len);
        let changed = sessions.is_some() || recommendations.is_some();
        answer(DeleteUserDataResponse { deleted_sessions: i32::try_from(deleted).unwrap_or(i32::MAX) }, changed)
    }
}
