//! The places of limits that count over all replicas (semantics.md O4). A replica has some for as long as its lease lasts, and uses them
//! without asking again.

use engine::store::{PlaceWish, Share, StoreError, share};
use uuid::Uuid;

use crate::rows;
use crate::session::{Fault, Session, now, params};

/// Leases that have not ended.
macro_rules! living {
    () => {
        concat!("SELECT id FROM leases WHERE dead_at IS NULL AND expires_at > ", now!())
    };
}

/// Takes and gives back places, one limit after the other in the order of their names, so that no two replicas wait for each other.
pub(crate) async fn places(session: &Session<'_>, wishes: &[PlaceWish]) -> Result<Vec<u32>, Fault> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_by_key(|number| &wishes[*number].limit);
    let mut held = vec![0; wishes.len()];
    for number in order {
        held[number] = places_of(session, &wishes[number]).await?;
    }
    Ok(held)
}

async fn places_of(session: &Session<'_>, wish: &PlaceWish) -> Result<u32, Fault> {
    let PlaceWish { limit, total, used, wanted } = wish;
    lock(session, limit).await?;
    let found = session
        .rows(
            concat!("SELECT lease, held, wanted, since FROM places WHERE name = $1 AND lease IN (", living!(), ")"),
            params![limit],
        )
        .await?;
    let mut own = Share { wanted: *wanted, since: session.now, ..Share::default() };
    let mut others = Vec::with_capacity(found.len());
    for row in &found {
        let found = Share { held: rows::small(row, 1)?, wanted: rows::small(row, 2)?, since: rows::instant(row, 3)? };
        if row.try_get::<_, Uuid>(0)? == session.owner {
            own = Share { wanted: *wanted, ..found };
        } else {
            others.push(found);
        }
    }
    let held = share(*total, session.now, own, *used, &others);
    let since = if held == own.held { own.since } else { session.now };
    let kept = session
        .execute(
            concat!(
                "INSERT INTO places (name, lease, held, wanted, since)
                 SELECT $1, lease.id, $3, $4, $5 FROM (",
                living!(),
                ") AS lease WHERE lease.id = $2
                 ON CONFLICT (name, lease)
                 DO UPDATE SET held = excluded.held, wanted = excluded.wanted, since = excluded.since"
            ),
            params![limit, session.owner, rows::small_number(held), rows::small_number(*wanted), since.as_micros()],
        )
        .await?;
    if kept == 0 {
        return Err(StoreError::Unavailable("the lease of this replica is over".to_owned()).into());
    }
    session
        .execute(concat!("DELETE FROM places WHERE name = $1 AND lease NOT IN (", living!(), ")"), params![limit])
        .await?;
    Ok(held)
}

async fn lock(session: &Session<'_>, limit: &str) -> Result<(), Fault> {
    let known = "SELECT 1 FROM limits WHERE name = $1 FOR UPDATE";
    while session.row(known, params![limit]).await?.is_none() {
        session.execute("INSERT INTO limits (name) VALUES ($1) ON CONFLICT DO NOTHING", params![limit]).await?;
    }
    Ok(())
}
