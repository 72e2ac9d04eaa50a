//! Journal: what users wrote, and which emotions were found in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use clients::guras::journal::v1::journal_service_server::{JournalService, JournalServiceServer};
use clients::guras::journal::v1::*;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::feed::Feed;
use crate::paging::{self, page};
use crate::seed;
use crate::services::{answer, check_text};
use crate::settings::Settings;
use crate::shared::{Shared, newest_first, now};

/// The responses of a stream.
type Answers<T> = futures_util::stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[derive(Clone)]
pub(crate) struct Journal {
    state: Shared<State>,
    feed: Feed,
}

struct State {
    entries: BTreeMap<String, Entry>,
    /// Entries by the request that created them.
    requests: HashMap<String, String>,
}

impl State {
    fn seeded(settings: &Settings) -> Self {
        let entries = (0..settings.entries).map(|n| seed::entry(n, settings.users));
        Self { entries: entries.map(|entry| (entry.entry_id.clone(), entry)).collect(), requests: HashMap::new() }
    }
}

impl Journal {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { state: Shared::new(State::seeded(settings)), feed: settings.feed.clone() }
    }

    pub(crate) fn reset(&self, settings: &Settings) {
        self.state.with(|state| *state = State::seeded(settings));
    }

    pub(crate) fn server(&self) -> JournalServiceServer<Self> {
        JournalServiceServer::new(self.clone())
    }

    /// A user writes an entry.
    pub(crate) fn write(&self, entry: Entry) {
        self.state.with(|state| state.entries.insert(entry.entry_id.clone(), entry));
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "CreateEntry" => CreateEntryRequest::decode(message)
            .ok()
            .map(|request| format!("entry:{}/{}", request.user_id, request.request_id)),
        "SaveEntryEmotions" => {
            SaveEntryEmotionsRequest::decode(message).ok().map(|request| format!("emotions:{}", request.entry_id))
        }
        "DeleteUserData" => {
            DeleteUserDataRequest::decode(message).ok().map(|request| format!("journal-delete:{}", request.user_id))
        }
        _ => None,
    }
}

fn summary(entry: &Entry) -> EntrySummary {
    EntrySummary { entry_id: entry.entry_id.clone(), user_id: entry.user_id.clone(), create_time: entry.create_time }
}

/// Seconds and nanoseconds, which order as the times do.
fn instant(time: Option<prost_types::Timestamp>) -> (i64, i32) {
    time.map_or((0, 0), |time| (time.seconds, time.nanos))
}

#[tonic::async_trait]
impl JournalService for Journal {
    type StreamEntriesStream = Answers<StreamEntriesResponse>;

    async fn stream_entries(
        &self,
        request: Request<StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let request = request.into_inner();
        let range = instant(request.start_time)..instant(request.end_time);
        let mut entries: Vec<Entry> = self.state.with(|state| {
            let theirs = state.entries.values();
            let theirs = theirs.filter(|entry| entry.user_id == request.user_id && entry.delete_time.is_none());
            theirs.filter(|entry| range.contains(&instant(entry.create_time))).cloned().collect()
        });
        entries.sort_by_key(|entry| instant(entry.create_time));
        let answers = entries.into_iter().map(|entry| Ok(StreamEntriesResponse { entry: Some(entry) }));
        answer(futures_util::stream::iter(answers.collect::<Vec<_>>()), false)
    }

    async fn get_entry(&self, request: Request<GetEntryRequest>) -> Result<Response<GetEntryResponse>, Status> {
        let id = request.into_inner().entry_id;
        match self.state.with(|state| state.entries.get(&id).cloned()) {
            Some(entry) => answer(GetEntryResponse { entry: Some(entry) }, false),
            None => Err(Status::not_found(format!("no entry {id}"))),
        }
    }

    async fn list_entries(
        &self,
        request: Request<ListEntriesRequest>,
    ) -> Result<Response<ListEntriesResponse>, Status> {
        let request = request.into_inner();
        let all: Vec<(String, Entry)> = self.state.with(|state| {
            let theirs = state.entries.values();
            let theirs = theirs.filter(|entry| entry.user_id == request.user_id && entry.delete_time.is_none());
            theirs.map(|entry| (newest_first(entry.create_time, &entry.entry_id), entry.clone())).collect()
        });
        let (entries, next_page_token) =
            page(all, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListEntriesResponse { entries, next_page_token }, false)
    }

    async fn list_entries_without_emotions(
        &self,
        request: Request<ListEntriesWithoutEmotionsRequest>,
    ) -> Result<Response<ListEntriesWithoutEmotionsResponse>, Status> {
        let request = request.into_inner();
        let all: Vec<(String, EntrySummary)> = self.state.with(|state| {
            let open = state.entries.values();
            let open = open.filter(|entry| entry.emotion_ids.is_empty() && entry.delete_time.is_none());
            open.map(|entry| {
                let (seconds, nanos) = instant(entry.create_time);
                (format!("{seconds:020}.{nanos:09}/{}", entry.entry_id), summary(entry))
            })
            .collect()
        });
        let (entries, next_page_token) =
            page(all, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListEntriesWithoutEmotionsResponse { entries, next_page_token }, false)
    }

    async fn create_entry(
        &self,
        request: Request<CreateEntryRequest>,
    ) -> Result<Response<CreateEntryResponse>, Status> {
        let request = request.into_inner();
        check_text("title", &request.title, 200)?;
        check_text("content", &request.content, 20_000)?;
        let (entry, changed) = self.state.with(|state| {
            if let Some(entry) = state.requests.get(&request.request_id).and_then(|id| state.entries.get(id)) {
                return (entry.clone(), false);
            }
            let entry = Entry {
                entry_id: uuid::Uuid::new_v4().to_string(),
                user_id: request.user_id,
                title: request.title,
                content: request.content,
                create_time: Some(now()),
                update_time: Some(now()),
                ..Entry::default()
            };
            if !request.request_id.is_empty() {
                state.requests.insert(request.request_id, entry.entry_id.clone());
            }
            state.entries.insert(entry.entry_id.clone(), entry.clone());
            (entry, true)
        });
        answer(CreateEntryResponse { entry: Some(entry) }, changed)
    }

    async fn save_entry_emotions(
        &self,
        request: Request<SaveEntryEmotionsRequest>,
    ) -> Result<Response<SaveEntryEmotionsResponse>, Status> {
        let request = request.into_inner();
        let ids = &request.emotion_ids;
        let different: HashSet<&String> = ids.iter().collect();
        if ids.len() > 10 || different.len() < ids.len() {
            return Err(Status::invalid_argument("emotion_ids must be at most ten, none twice"));
        }
        let saved = self.state.with(|state| {
            let entry = state.entries.get_mut(&request.entry_id).filter(|entry| entry.delete_time.is_none())?;
            entry.emotion_ids.clone_from(ids);
            entry.update_time = Some(now());
            Some(entry.clone())
        });
        let entry = saved.ok_or_else(|| Status::not_found(format!("no entry {}", request.entry_id)))?;
        self.feed.tell(format!("felt by {}: {}", seed::display_name(&entry.user_id), ids.join(", ")));
        answer(SaveEntryEmotionsResponse { entry: Some(summary(&entry)) }, true)
    }

    async fn count_emotions(
        &self,
        request: Request<CountEmotionsRequest>,
    ) -> Result<Response<CountEmotionsResponse>, Status> {
        let request = request.into_inner();
        let range = instant(request.start_time)..instant(request.end_time);
        let (entries, counts) = self.state.with(|state| {
            let mut counts: BTreeMap<String, i32> = BTreeMap::new();
            let mut entries = 0;
            for entry in state.entries.values() {
                if entry.user_id == request.user_id && range.contains(&instant(entry.create_time)) {
                    entries += 1;
                    for id in &entry.emotion_ids {
                        *counts.entry(id.clone()).or_default() += 1;
                    }
                }
            }
            (entries, counts)
        });
        let mut counts: Vec<EmotionCount> =
            counts.into_iter().map(|(emotion_id, entries)| EmotionCount { emotion_id, entries }).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.entries));
        answer(CountEmotionsResponse { counts, entries }, false)
    }

    async fn delete_user_data(
        &self,
        request: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        let user_id = request.into_inner().user_id;
        let deleted = self.state.with(|state| {
            let before = state.entries.len();
            state.entries.retain(|_, entry| entry.user_id != user_id);
            before - state.entries.len()
        });
        answer(DeleteUserDataResponse { deleted_entries: i32::try_from(deleted).unwrap_or(i32::MAX) }, deleted > 0)
    }
}
