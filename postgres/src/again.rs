//! How what met another transaction is made again.

use std::time::Duration;

use crate::session::Fault;

/// What meets others is made so often,
const TRIES: u32 = 10;
/// after a pause that grows by this.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes it again where it met another transaction, and so surely did nothing.
pub(crate) async fn again<O, F>(attempt: impl Fn() -> F) -> Result<O, Fault>
where
    F: Future<Output = Result<O, Fault>>,
{
    let mut tries = 1;
    loop {
        match attempt().await {
            Err(fault) if fault.may_be_repeated() && tries < TRIES => pause(tries).await,
            done => return done,
        }
        tries += 1;
    }
}

async fn pause(tries: u32) {
    // Two that met do not meet again at the same moment.
    let odd = u32::from(uuid::Uuid::new_v4().into_bytes()[0]) % 4;
    tokio::time::sleep(PAUSE * (tries + odd)).await;
}
