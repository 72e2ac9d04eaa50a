//! The services of a test as one replica reaches them: over connections that break, and with what a test scripts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use uuid::Uuid;

use super::services::Reply;
use super::{Arrival, Probe, Services};
use crate::failure::{Code, Failure};
use crate::rpc::{Level, MARGIN};
use crate::transport::{Attempt, Outcome, Reservation, Reserved, Reserving, Transport, Unsent};

/// The services as one replica reaches them.
pub(super) struct Reached {
    pub(super) services: Services,
    pub(super) probe: Probe,
}

impl Services {
    /// This world seen from a replica: its calls pass a probe.
    pub(crate) fn seen_by(&self, probe: Probe) -> Arc<dyn Transport> {
        let probed: Arc<dyn Transport> = Arc::new(Reached { services: self.clone(), probe });
        let layer = self.layer();
        match layer {
            Some(layer) => layer(probed),
            None => probed,
        }
    }
}

struct Right {
    services: Services,
    probe: Probe,
    method: &'static str,
}

impl Transport for Reached {
    fn reserve(&self, path: &str, _run: Uuid, _connect_within: Duration) -> Reserving {
        let method = self.services.method(path);
        let (services, probe) = (self.services.clone(), self.probe.clone());
        let path = path.to_owned();
        Box::pin(async move {
            probe.pass("reserve").await;
            let Some(method) = method else {
                let failure = Failure::new(Code::Unimplemented, format!("{path} has no handler"));
                return Err(Unsent { failure, retry_after: None });
            };
            let mut outage = services.outage();
            let right: Box<dyn Reservation> = Box::new(Right { services, probe, method });
            let down = outage.borrow_and_update().clone();
            let Some(down) = down else { return Ok(Reserved::Ready(right)) };
            let back = Box::pin(async move {
                // The services live as long as the right to call them.
                let _ = outage.wait_for(Option::is_none).await;
                Ok(right)
            });
            Ok(Reserved::Down(down, back))
        })
    }

    fn level(&self, path: &str, stated: Level) -> Level {
        self.services.known_level(path).unwrap_or(stated)
    }
}

impl Reservation for Right {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Self { services, probe, method } = *self;
            probe.pass("before send").await;
            let arrival = Arrival {
                method,
                key: attempt.key,
                run: attempt.run,
                attempt: attempt.number,
                request: attempt.request.clone(),
                at: Instant::now(),
            };
            let connection = services.connection(method);
            let broken = connection.notified();
            let outcome = tokio::select! {
                biased;
                outcome = answer(&services, arrival, attempt.deadline) => outcome,
                () = broken => ambiguous(Code::Unavailable),
                () = tokio::time::sleep_until(attempt.deadline) => ambiguous(Code::DeadlineExceeded),
            };
            probe.pass("before response").await;
            probe.stepped(attempt.run);
            outcome
        })
    }
}

async fn answer(services: &Services, arrival: Arrival, deadline: Instant) -> Outcome {
    match services.next_reply(arrival.method) {
        None => plain(services.act(arrival)),
        Some(Reply::Slow(span)) => {
            tokio::time::sleep(span).await;
            plain(services.act(arrival))
        }
        Some(Reply::NotSent) => {
            let failure = Failure::new(Code::Unavailable, "scripted: not sent");
            Outcome::NotSent(Unsent { failure, retry_after: None })
        }
        Some(Reply::Refuse(code)) => Outcome::Refused(Failure::new(code, "scripted: refused")),
        Some(Reply::ActAndBreak(code)) => {
            let _lost = services.act(arrival);
            ambiguous(code)
        }
        Some(Reply::ActLater(code, span)) => {
            let (services, at) = (services.clone(), (Instant::now() + span).min(deadline + MARGIN));
            services.acts_late(arrival.key);
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                services.acted_late(arrival.key);
                drop(services.act(arrival));
            });
            ambiguous(code)
        }
        Some(Reply::AnswerAndBreak) => {
            let connection = services.connection(arrival.method);
            let answer = plain(services.act(arrival));
            connection.notify_waiters();
            answer
        }
        Some(Reply::BreakFirst(code)) => ambiguous(code),
        Some(Reply::Hang) => std::future::pending().await,
    }
}

fn plain(answer: Result<Bytes, Failure>) -> Outcome {
    match answer {
        Ok(response) => Outcome::Done(response),
        Err(failure) => Outcome::Refused(failure),
    }
}

fn ambiguous(code: Code) -> Outcome {
    Outcome::Ambiguous { failure: Failure::new(code, "scripted: answer lost"), retry_after: None }
}
