//! A connection from when it is open until it takes no more calls.

use std::future::pending;
use std::sync::Arc;

use crate::channel::connection::{Line, Standing};
use crate::channel::endpoint::Endpoint;
use crate::channel::health_watch::{self, Health};
use crate::channel::pool::{Phase, Pool};

/// Keeps the pool informed of the connection until it takes no more calls. With a service to ask for, the endpoint is ready
/// only while the peer says that this is healthy.
pub(crate) async fn attend(pool: &Pool, endpoint: &Arc<Endpoint>, line: Line, health_check: Option<&str>) {
    let requests = line.requests();
    // The watch is a call of its own on the connection.
    let watches = usize::from(health_check.is_some());
    let seen = line.standing();
    let report = |health: Health| match health {
        Health::Asked => pool.enter(endpoint, Phase::Connecting),
        Health::NotServing(reason) => pool.fail(endpoint, Phase::Failed(None), reason),
        Health::Serving => {
            if let Some(allowed) = allowed(&seen.borrow()) {
                let allowed = allowed.saturating_sub(watches);
                pool.enter(endpoint, Phase::Ready(requests.clone(), allowed));
            }
        }
    };
    let watch = async {
        match health_check {
            Some(service) => health_watch::follow(&requests, endpoint, service, pool.config(), report).await,
            None => report(Health::Serving),
        }
        pending::<()>().await;
    };
    let mut standing = line.standing();
    let end = async {
        loop {
            let known = standing.changed().await.map(|()| standing.borrow_and_update().clone());
            match known {
                Ok(Standing::Open { allowed }) => pool.allow(endpoint, allowed.saturating_sub(watches)),
                Ok(Standing::Ended(lost)) => break pool.fail(endpoint, Phase::Idle, lost.to_string()),
                Ok(Standing::GoingAway) | Err(_) => break pool.enter(endpoint, Phase::Idle),
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = end => {}
    }
}

fn allowed(standing: &Standing) -> Option<usize> {
    match standing {
        Standing::Open { allowed } => Some(*allowed),
        Standing::GoingAway | Standing::Ended(_) => None,
    }
}
