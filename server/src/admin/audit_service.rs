//! `orchestrator.admin.v1.AuditService`.

use crate::proto::orchestrator::admin::v1::audit_service_server::AuditService;
use crate::proto::orchestrator::admin::v1::{ListAuditEntriesRequest, ListAuditEntriesResponse};
use engine::engine::Engine;
use engine::store::{AuditEntry, ListAudit};
use prost::Message;
use tonic::{Request, Response, Status};

use super::requests::Violations;
use super::{granted, messages, pages};

pub(super) struct Audit {
    engine: Engine,
}

impl Audit {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit_entries(
        &self,
        request: Request<ListAuditEntriesRequest>,
    ) -> Result<Response<ListAuditEntriesResponse>, Status> {
        let (_, extensions, mut request) = request.into_parts();
        let access = granted::of(&extensions)?;
        let mut violations = Violations::default();
        let limit = violations.page_size(request.page_size);
        let run = Some(&request.run_id).filter(|id| !id.is_empty()).map(|id| violations.run_id(id));
        let schedule = Some(request.schedule.clone()).filter(|name| !name.is_empty());
        let token = std::mem::take(&mut request.page_token);
        request.page_size = 0;
        let arguments = request.encode_to_vec();
        let before = match pages::cursor(&token, &arguments) {
            Ok(cursor) => cursor.and_then(|cursor| cursor.try_into().ok()).map(u64::from_be_bytes),
            Err(expected) => {
                violations.note("page_token", expected);
                None
            }
        };
        violations.or(())?;

        let read =
            pages::Granted { access: &access, limit: limit as usize, workflow: |entry: &AuditEntry| &entry.workflow };
        let list =
            |before| self.engine.store().audit(ListAudit { run, schedule: schedule.clone(), before, limit: limit + 1 });
        let (entries, read_to) = read.page(before, list, |entry| entry.number).await?;
        let mut audit_entries: Vec<_> = entries.into_iter().map(messages::audit_entry).collect();
        let is_cut = pages::cut(&mut audit_entries, limit as usize);
        let next_page_token = match audit_entries.last() {
            Some(last) if is_cut => pages::token(&last.entry_number.to_be_bytes(), &arguments),
            _ => read_to.map_or_else(String::new, |last| pages::token(&last.to_be_bytes(), &arguments)),
        };
        Ok(Response::new(ListAuditEntriesResponse { audit_entries, next_page_token }))
    }
}
