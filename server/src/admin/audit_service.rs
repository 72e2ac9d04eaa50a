//! `orchestrator.admin.v1.AuditService`.

use crate::proto::orchestrator::admin::v1::audit_service_server::AuditService;
use crate::proto::orchestrator::admin::v1::{ListAuditEntriesRequest, ListAuditEntriesResponse};
use engine::engine::{Engine, EngineError};
use engine::store::{AuditField, Comparison, Filter, ListAudit, Value};
use prost::Message;
use tonic::{Request, Response, Status};

use super::filter::{Field, Fields};
use super::requests::Violations;
use super::{granted, messages, pages, status};

pub(super) struct Audit {
    engine: Engine,
}

impl Audit {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// What entries are filtered by.
struct AuditFields;

impl Fields<AuditField> for AuditFields {
    fn field(&self, path: &[String]) -> Option<Field<AuditField>> {
        let [name] = path else { return None };
        Some(match name.as_str() {
            "caller" => Field::Text(AuditField::Caller),
            "claimed_caller" => Field::Text(AuditField::Said),
            "method" => Field::Text(AuditField::Action),
            "create_time" => Field::Time(AuditField::At),
            "run_id" => Field::Id(AuditField::Run),
            "workflow" => Field::Text(AuditField::Workflow),
            "schedule" => Field::Text(AuditField::Schedule),
            "refused_count" => Field::Number(AuditField::Refusals),
            _ => return None,
        })
    }

    fn names(&self) -> &'static str {
        "caller, claimed_caller, method, create_time, run_id, workflow, schedule or refused_count"
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
        let mut filter = violations.filter(&request.filter, &AuditFields);
        if !request.run_id.is_empty() {
            let run = violations.run_id(&request.run_id);
            filter = filter.and(Filter::Compare(AuditField::Run, Comparison::Equal, Value::Id(run)));
        }
        if !request.schedule.is_empty() {
            filter = filter.and(Filter::is(AuditField::Schedule, request.schedule.clone()));
        }
        if let Some(granted) = access.granted() {
            filter = filter.and(Filter::begins_with_one(&AuditField::Workflow, granted));
        }
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

        let entries = self.engine.store().audit(ListAudit { filter, before, limit: limit + 1 }).await;
        let entries = entries.map_err(|error| status::from_engine(EngineError::Store(error)))?;
        let mut audit_entries: Vec<_> = entries.into_iter().map(messages::audit_entry).collect();
        let is_cut = pages::cut(&mut audit_entries, limit as usize);
        let last = audit_entries.last().filter(|_| is_cut);
        let next_page_token =
            last.map_or_else(String::new, |last| pages::token(&last.entry_number.to_be_bytes(), &arguments));
        Ok(Response::new(ListAuditEntriesResponse { audit_entries, next_page_token }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_is_named_is_one() {
        for name in AuditFields.names().replace(" or ", ", ").split(", ") {
            assert!(AuditFields.field(&[name.to_owned()]).is_some(), "{name}");
        }
    }
}
