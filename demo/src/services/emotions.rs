//! Emotions: the catalogue, which does not change.

use clients::guras::emotions::v1::emotion_service_server::{EmotionService, EmotionServiceServer};
use clients::guras::emotions::v1::*;
use tonic::{Request, Response, Status};

use crate::paging::{self, page};
use crate::seed;
use crate::services::answer;

#[derive(Clone, Copy)]
pub(crate) struct Emotions;

impl Emotions {
    pub(crate) fn server(self) -> EmotionServiceServer<Self> {
        EmotionServiceServer::new(self)
    }
}

#[tonic::async_trait]
impl EmotionService for Emotions {
    async fn list_emotions(
        &self,
        request: Request<ListEmotionsRequest>,
    ) -> Result<Response<ListEmotionsResponse>, Status> {
        let request = request.into_inner();
        let listed = seed::emotions().filter(|emotion| emotion.active || request.include_inactive);
        let listed = listed.map(|emotion| (emotion.emotion_id.clone(), emotion));
        let (emotions, next_page_token) =
            page(listed, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListEmotionsResponse { emotions, next_page_token }, false)
    }

    async fn get_emotion(&self, request: Request<GetEmotionRequest>) -> Result<Response<GetEmotionResponse>, Status> {
        let id = request.into_inner().emotion_id;
        match seed::emotions().find(|emotion| emotion.emotion_id == id) {
            Some(emotion) => answer(GetEmotionResponse { emotion: Some(emotion) }, false),
            None => Err(Status::not_found(format!("no emotion {id}"))),
        }
    }

    async fn get_emotion_by_name(
        &self,
        request: Request<GetEmotionByNameRequest>,
    ) -> Result<Response<GetEmotionByNameResponse>, Status> {
        let name = request.into_inner().name;
        match seed::emotions().find(|emotion| emotion.name.eq_ignore_ascii_case(&name)) {
            Some(emotion) => answer(GetEmotionByNameResponse { emotion: Some(emotion) }, false),
            None => Err(Status::not_found(format!("no emotion with the name {name}"))),
        }
    }

    async fn batch_get_emotions(
        &self,
        request: Request<BatchGetEmotionsRequest>,
    ) -> Result<Response<BatchGetEmotionsResponse>, Status> {
        let ids = request.into_inner().emotion_ids;
        if ids.len() > 100 {
            return Err(Status::invalid_argument(format!("emotion_ids must be at most 100, were {}", ids.len())));
        }
        let found = ids.iter().filter_map(|id| seed::emotions().find(|emotion| &emotion.emotion_id == id));
        answer(BatchGetEmotionsResponse { emotions: found.collect() }, false)
    }
}
