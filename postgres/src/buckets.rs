//! Which replica looks for due runs in which buckets: each that lives has about as many as the others.

use crate::migrations::BUCKETS;
use crate::rows;
use crate::session::{Fault, Session, params};

/// Takes what is free up to a fair share, and lets go what is more than that. Says what is held then.
pub(crate) async fn balance(session: &Session<'_>) -> Result<Vec<i16>, Fault> {
    let found = session
        .rows(
            "SELECT buckets.number, buckets.owner = $1, holder.id IS NULL,
                    (SELECT count(*) FROM leases WHERE leases.dead_at IS NULL)
             FROM buckets LEFT JOIN leases AS holder ON holder.id = buckets.owner AND holder.dead_at IS NULL
             ORDER BY buckets.number",
            params![session.owner],
        )
        .await?;
    let (mut held, mut free, mut replicas) = (Vec::new(), Vec::new(), 1);
    for row in &found {
        let number: i16 = row.try_get(0)?;
        if row.try_get::<_, Option<bool>>(1)?.unwrap_or_default() {
            held.push(number);
        } else if row.try_get(2)? {
            free.push(number);
        }
        replicas = rows::count(row, 3)?.max(1);
    }
    let share = share(replicas);
    if held.len() > share {
        let surplus = held.split_off(share);
        session
            .execute(
                "UPDATE buckets SET owner = NULL WHERE owner = $1 AND number = ANY($2)",
                params![session.owner, surplus],
            )
            .await?;
    } else if held.len() < share && !free.is_empty() {
        free.truncate(share - held.len());
        // Of two that want the same one the first has it.
        let taken = session
            .rows(
                "UPDATE buckets SET owner = $1
                 WHERE number = ANY($2)
                   AND NOT EXISTS (SELECT 1 FROM leases WHERE leases.id = buckets.owner AND leases.dead_at IS NULL)
                   AND EXISTS (SELECT 1 FROM leases WHERE leases.id = $1 AND leases.dead_at IS NULL)
                 RETURNING number",
                params![session.owner, free],
            )
            .await?;
        for row in &taken {
            held.push(row.try_get(0)?);
        }
    }
    Ok(held)
}

/// How many buckets one of so many replicas has, at most.
fn share(replicas: u64) -> usize {
    let all = u64::from(BUCKETS.unsigned_abs());
    usize::try_from(all.div_ceil(replicas)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_buckets_and_are_within_a_tenth_of_each_other() {
        assert_eq!([1, 2, 3, 64, 100].map(share), [64, 32, 22, 1, 1]);
    }
}
