//! `orchestrator.admin.v1.ServiceService`.

use std::sync::Arc;

use crate::proto::orchestrator::admin::v1::service_service_server::ServiceService;
use crate::proto::orchestrator::admin::v1::{GetServiceRequest, ListServicesRequest, ListServicesResponse, Service};
use engine::engine::Engine;
use engine::time::Clock;
use tonic::{Request, Response, Status};
use transport::Services;

use super::messages::services as messages;
use super::requests::Violations;
use super::{pages, status};

pub(super) struct ServicesShown {
    services: Arc<Services>,
    engine: Engine,
    clock: Clock,
}

impl ServicesShown {
    pub(super) fn new(services: Arc<Services>, engine: Engine, clock: Clock) -> Self {
        Self { services, engine, clock }
    }

    /// All services by name.
    fn all(&self) -> Vec<Service> {
        let (away, now) = (self.engine.away(), self.clock.now());
        let states = self.services.states().into_iter();
        let mut services: Vec<Service> = states
            .map(|state| {
                let away = away.get(state.name.as_str()).copied().unwrap_or_default();
                messages::service(state, away, now)
            })
            .collect();
        services.sort_by(|a, b| a.service.cmp(&b.service));
        services
    }
}

#[tonic::async_trait]
impl ServiceService for ServicesShown {
    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let page_size = violations.page_size(request.page_size) as usize;
        let after = pages::cursor(&request.page_token, b"services").unwrap_or_else(|expected| {
            violations.note("page_token", expected);
            None
        });
        let after = violations.or(after)?.unwrap_or_default();

        let mut services = self.all();
        services.retain(|service| service.service.as_bytes() > after.as_slice());
        let is_cut = pages::cut(&mut services, page_size);
        let next_page_token = match services.last() {
            Some(last) if is_cut => pages::token(last.service.as_bytes(), b"services"),
            _ => String::new(),
        };
        Ok(Response::new(ListServicesResponse { services, next_page_token }))
    }

    async fn get_service(&self, request: Request<GetServiceRequest>) -> Result<Response<Service>, Status> {
        let name = request.into_inner().service;
        let mut violations = Violations::default();
        violations.name("service", &name);
        violations.or(())?;
        let mut service = self
            .all()
            .into_iter()
            .find(|service| service.service == name)
            .ok_or_else(|| status::unknown_service(&name))?;
        service.methods = self.services.policies(&name).into_iter().map(messages::method).collect();
        Ok(Response::new(service))
    }
}
