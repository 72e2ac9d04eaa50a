//! The service that steers the demo and shows what was counted.

use std::sync::Arc;
use std::time::Duration;

use crate::proto::demo::control::v1::control_service_server::{ControlService, ControlServiceServer};
use crate::proto::demo::control::v1::{
    EffectCount, GetLedgerRequest, GetLedgerResponse, KeyCount, MethodCount, ResetRequest, ResetResponse,
    SetFaultsRequest, SetFaultsResponse,
};
use tonic::{Code, Request, Response, Status};

use crate::faults::Faults;
use crate::front::Desk;
use crate::services::Services;

pub(crate) struct Control {
    desk: Arc<Desk>,
    services: Arc<Services>,
}

impl Control {
    pub(crate) fn server(desk: Arc<Desk>, services: Arc<Services>) -> ControlServiceServer<Self> {
        // A ledger with every key of a long test is larger than what gRPC sends by default.
        ControlServiceServer::new(Self { desk, services }).max_encoding_message_size(usize::MAX)
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn get_ledger(&self, request: Request<GetLedgerRequest>) -> Result<Response<GetLedgerResponse>, Status> {
        let request = request.into_inner();
        let ledger = &self.desk.ledger;
        let wanted = |method: &str| method.starts_with(&request.method_prefix);
        let mut response = GetLedgerResponse::default();
        for (method, count) in ledger.methods().into_iter().filter(|(method, _)| wanted(method)) {
            response.methods.push(MethodCount {
                method,
                entered: number(count.count.entered),
                applied: number(count.count.applied),
                deduplicated: number(count.deduplicated),
                failed_before: number(count.failed_before),
                failed_after: number(count.failed_after),
            });
        }
        if !request.totals_only {
            for ((method, key), count) in ledger.keys().into_iter().filter(|((method, _), _)| wanted(method)) {
                let (entered, applied) = (number(count.entered), number(count.applied));
                response.keys.push(KeyCount { method, key, entered, applied });
            }
            for (identity, count) in ledger.effects() {
                let (entered, applied) = (number(count.entered), number(count.applied));
                response.effects.push(EffectCount { identity, entered, applied });
            }
        }
        Ok(Response::new(response))
    }

    async fn set_faults(&self, request: Request<SetFaultsRequest>) -> Result<Response<SetFaultsResponse>, Status> {
        let request = request.into_inner();
        let faults = match request.faults {
            None => Faults::default(),
            Some(faults) => to_faults(faults)?,
        };
        self.desk.faults.set(&request.target, faults);
        Ok(Response::new(SetFaultsResponse {}))
    }

    async fn reset(&self, _: Request<ResetRequest>) -> Result<Response<ResetResponse>, Status> {
        self.services.reset();
        self.desk.clear();
        Ok(Response::new(ResetResponse {}))
    }
}

fn to_faults(faults: crate::proto::demo::control::v1::Faults) -> Result<Faults, Status> {
    let rate = |name: &str, rate: f64| {
        let valid = (0.0..=1.0).contains(&rate);
        valid.then_some(rate).ok_or_else(|| Status::invalid_argument(format!("{name} must be 0 to 1, was {rate}")))
    };
    let time = |name: &str, time: Option<prost_types::Duration>| match time.map(Duration::try_from) {
        None => Ok(Duration::ZERO),
        Some(Ok(time)) => Ok(time),
        Some(Err(_)) => Err(Status::invalid_argument(format!("{name} must not be negative"))),
    };
    Ok(Faults {
        error_rate: rate("error_rate", faults.error_rate)?,
        code: if faults.error_code == 0 { Code::Unavailable } else { Code::from_i32(faults.error_code) },
        after_effect_rate: rate("after_effect_rate", faults.after_effect_rate)?,
        delay: time("delay", faults.delay)?,
        jitter: time("jitter", faults.jitter)?,
    })
}
