//! Audio: the recordings that users uploaded.

use std::collections::BTreeMap;
use std::time::Duration;

use clients::guras::audio::v1::audio_service_server::{AudioService, AudioServiceServer};
use clients::guras::audio::v1::*;
use jiff::Timestamp;
use prost::Message;
use tonic::{Request, Response, Status};

use crate::paging::{self, page};
use crate::seed;
use crate::services::answer;
use crate::settings::Settings;
use crate::shared::{Shared, newest_first, to_proto};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone)]
pub(crate) struct Audio(Shared<BTreeMap<String, AudioFile>>);

fn seeded(settings: &Settings) -> BTreeMap<String, AudioFile> {
    (0..settings.users / 4).map(seed::audio_file).map(|file| (file.file_id.clone(), file)).collect()
}

impl Audio {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self(Shared::new(seeded(settings)))
    }

    pub(crate) fn reset(&self, settings: &Settings) {
        self.0.with(|files| *files = seeded(settings));
    }

    pub(crate) fn server(&self) -> AudioServiceServer<Self> {
        AudioServiceServer::new(self.clone())
    }
}

pub(crate) fn identity(method: &str, message: &[u8]) -> Option<String> {
    match method {
        "DeleteUserFiles" => {
            DeleteUserFilesRequest::decode(message).ok().map(|request| format!("audio-delete:{}", request.user_id))
        }
        _ => None,
    }
}

#[tonic::async_trait]
impl AudioService for Audio {
    async fn list_files(&self, request: Request<ListFilesRequest>) -> Result<Response<ListFilesResponse>, Status> {
        let request = request.into_inner();
        let theirs: Vec<(String, AudioFile)> = self.0.with(|files| {
            let theirs = files.values().filter(|file| file.user_id == request.user_id);
            theirs.map(|file| (newest_first(file.create_time, &file.file_id), file.clone())).collect()
        });
        let (files, next_page_token) =
            page(theirs, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListFilesResponse { files, next_page_token }, false)
    }

    async fn get_file(&self, request: Request<GetFileRequest>) -> Result<Response<GetFileResponse>, Status> {
        let request = request.into_inner();
        let lifetime = match request.link_lifetime.map(Duration::try_from) {
            None => HOUR,
            Some(Ok(lifetime)) if lifetime <= DAY => lifetime,
            Some(_) => return Err(Status::invalid_argument("link_lifetime must be zero to one day")),
        };
        let file = self
            .0
            .with(|files| files.get(&request.file_id).cloned())
            .ok_or_else(|| Status::not_found(format!("no file {}", request.file_id)))?;
        let expires = Timestamp::now() + lifetime;
        let link = format!("https://audio.guras.example/{}?expires={}", file.storage_key, expires.as_second());
        answer(GetFileResponse { file: Some(file), link, link_expire_time: Some(to_proto(expires)) }, false)
    }

    async fn delete_user_files(
        &self,
        request: Request<DeleteUserFilesRequest>,
    ) -> Result<Response<DeleteUserFilesResponse>, Status> {
        let user_id = request.into_inner().user_id;
        let deleted = self.0.with(|files| {
            let before = files.len();
            files.retain(|_, file| file.user_id != user_id);
            before - files.len()
        });
        answer(DeleteUserFilesResponse { deleted_files: i32::try_from(deleted).unwrap_or(i32::MAX) }, deleted > 0)
    }
}
