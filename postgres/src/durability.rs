//! Whether the database keeps what it acknowledges (semantics.md D3).

use engine::store::StoreError;

use crate::pool::Connection;
use crate::session::Fault;

/// Refuses a database that forgets what it has acknowledged, unless that is allowed, and warns of a failover that would.
pub(crate) async fn check(connection: &Connection, allow_data_loss: bool) -> Result<(), Fault> {
    let settings = "SELECT coalesce(current_setting('fsync', true), ''),
                           coalesce(current_setting('synchronous_commit', true), ''),
                           coalesce(current_setting('synchronous_standby_names', true), '')";
    let row = connection.row(settings).await?;
    let (fsync, commit, names): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    match forgets(&fsync, &commit) {
        Some(why) if !allow_data_loss => {
            let remedy = "switch it on, or accept the loss by store.allow_data_loss";
            return Err(StoreError::Unusable(format!("{why}; {remedy}")).into());
        }
        Some(why) => {
            tracing::warn!(why, "the store may forget what it has acknowledged, as store.allow_data_loss accepts")
        }
        None => {}
    }
    // Not every engine tells it, and not every user may ask.
    let standbys = match connection.row("SELECT count(*) FROM pg_stat_replication").await {
        Ok(row) => row.try_get(0)?,
        Err(error) => {
            tracing::debug!(%error, "whether there are standbys is not known");
            0
        }
    };
    if let Some(why) = asynchronous(standbys, &names, &commit) {
        tracing::warn!(why, "a failover would forget what was acknowledged last, and effects can then happen twice");
    }
    Ok(())
}

/// Why a crash of the server loses what was acknowledged; an empty setting is one that the server does not have.
pub(crate) fn forgets(fsync: &str, synchronous_commit: &str) -> Option<String> {
    let off: Vec<&str> = [("fsync", fsync), ("synchronous_commit", synchronous_commit)]
        .into_iter()
        .filter_map(|(name, value)| (value == "off").then_some(name))
        .collect();
    (!off.is_empty())
        .then(|| format!("{} is off: a crash of the server loses what it has acknowledged", off.join(" and ")))
}

/// Why the loss of the server loses what was acknowledged, although there are standbys.
pub(crate) fn asynchronous(standbys: i64, synchronous_standby_names: &str, synchronous_commit: &str) -> Option<String> {
    if standbys == 0 {
        return None;
    }
    let why = match (synchronous_standby_names.trim(), synchronous_commit) {
        ("", _) => "synchronous_standby_names is empty",
        (_, "local") => "synchronous_commit is local",
        _ => return None,
    };
    Some(format!("{standbys} standbys follow asynchronously ({why})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_waits_for_its_disk_forgets_nothing() {
        for commit in ["on", "local", "remote_write", "remote_apply", ""] {
            assert_eq!(forgets("on", commit), None);
        }
        assert_eq!(forgets("", ""), None);
        assert!(forgets("off", "on").is_some_and(|why| why.starts_with("fsync is off")));
        assert!(forgets("on", "off").is_some_and(|why| why.starts_with("synchronous_commit is off")));
    }

    #[test]
    fn standbys_are_asynchronous_unless_commits_wait_for_them() {
        assert_eq!(asynchronous(0, "", "on"), None);
        assert_eq!(asynchronous(2, "ANY 1 (*)", "on"), None);
        assert!(asynchronous(1, " ", "on").is_some());
        assert!(asynchronous(1, "one", "local").is_some());
    }
}
