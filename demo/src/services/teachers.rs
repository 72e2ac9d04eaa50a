//! Teachers: who they are and what they say.

use clients::guras::teachers::v1::teacher_service_server::{TeacherService, TeacherServiceServer};
use clients::guras::teachers::v1::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tonic::{Request, Response, Status};

use crate::paging::{self, page};
use crate::seed;
use crate::services::answer;
use crate::settings::Settings;
use crate::shared::Shared;

#[derive(Clone)]
pub(crate) struct Teachers {
    dice: Shared<StdRng>,
}

impl Teachers {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { dice: Shared::new(StdRng::seed_from_u64(settings.seed)) }
    }

    pub(crate) fn server(&self) -> TeacherServiceServer<Self> {
        TeacherServiceServer::new(self.clone())
    }
}

#[tonic::async_trait]
impl TeacherService for Teachers {
    async fn list_teachers(
        &self,
        request: Request<ListTeachersRequest>,
    ) -> Result<Response<ListTeachersResponse>, Status> {
        let request = request.into_inner();
        let listed = seed::teachers().filter(|teacher| {
            teacher.active
                && (request.focus.is_empty() || teacher.focus == request.focus)
                && (request.complexity == 0 || teacher.complexity == request.complexity)
        });
        let listed = listed.map(|teacher| (format!("{}/{}", teacher.name, teacher.teacher_id), teacher));
        let (teachers, next_page_token) =
            page(listed, request.page_size, &request.page_token, paging::DEFAULT, paging::MOST)?;
        answer(ListTeachersResponse { teachers, next_page_token }, false)
    }

    async fn get_teacher(&self, request: Request<GetTeacherRequest>) -> Result<Response<GetTeacherResponse>, Status> {
        let id = request.into_inner().teacher_id;
        match seed::teachers().find(|teacher| teacher.teacher_id == id) {
            Some(teacher) => answer(GetTeacherResponse { teacher: Some(teacher) }, false),
            None => Err(Status::not_found(format!("no teacher {id}"))),
        }
    }

    async fn pick_teaching(
        &self,
        request: Request<PickTeachingRequest>,
    ) -> Result<Response<PickTeachingResponse>, Status> {
        let id = request.into_inner().teacher_id;
        let theirs: Vec<Teaching> = seed::teachers()
            .filter(|teacher| if id.is_empty() { teacher.active } else { teacher.teacher_id == id })
            .flat_map(|teacher| {
                let (teacher_id, teacher_name) = (teacher.teacher_id, teacher.name);
                teacher.core_teachings.into_iter().map(move |text| Teaching {
                    teacher_id: teacher_id.clone(),
                    teacher_name: teacher_name.clone(),
                    text,
                })
            })
            .collect();
        match self.dice.with(|dice| theirs.choose(dice).cloned()) {
            Some(teaching) => answer(PickTeachingResponse { teaching: Some(teaching) }, false),
            None => Err(Status::not_found(format!("no teacher {id}"))),
        }
    }
}
