//! The server has to end what takes too long: only then is it known when a write whose answer was lost can no longer be done.

use std::time::Duration;

use engine::store::StoreError;

use crate::options::PostgresOptions;
use crate::pool::Connection;
use crate::session::Fault;

/// Each connection asks for these limits; a pooler may not pass that on.
pub(crate) async fn check(connection: &Connection, options: &PostgresOptions) -> Result<(), Fault> {
    let row = connection
        .row(
            "SELECT max(setting) FILTER (WHERE name = 'statement_timeout'),
                    max(setting) FILTER (WHERE name = 'idle_in_transaction_session_timeout')
             FROM pg_settings WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout')",
        )
        .await?;
    for (column, name) in ["statement_timeout", "idle_in_transaction_session_timeout"].into_iter().enumerate() {
        let milliseconds = row.try_get::<_, Option<&str>>(column)?.and_then(|said| said.parse().ok()).unwrap_or(0);
        let limit = Duration::from_millis(milliseconds);
        if limit.is_zero() || limit > options.timeout {
            let is = if limit.is_zero() { "off".to_owned() } else { format!("{limit:?}") };
            let most = options.timeout;
            return Err(StoreError::Unusable(format!(
                "{name} is {is}, and must be at most {most:?}: a pooler does not pass on what connections ask for; set it \
                 with ALTER ROLE .. SET {name}"
            ))
            .into());
        }
    }
    Ok(())
}
