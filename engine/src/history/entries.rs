//! Reads a run's journal from its store, page by page and within a limit.

use uuid::Uuid;

use crate::journal::{JournalError, decode_entry};
use crate::journal_v1 as stored;
use crate::store::{JOURNAL_PAGE_BYTES, Store, StoreError};

/// Entries of a journal that are read in one query.
const PAGE: u32 = 512;

/// All facts of a run and how many bytes they have; the inner error is about what they say, the outer about the store. Refused
/// if those are more than twice the limit, before they are all in memory.
pub(crate) async fn journal_within(
    store: &dyn Store,
    run: Uuid,
    limit: usize,
) -> Result<Result<(Vec<stored::Fact>, usize), JournalError>, StoreError> {
    let mut facts = Vec::new();
    let read = read_on(store, run, 0, &mut facts, limit.saturating_mul(2)).await?;
    Ok(read.map(|(_, bytes)| (facts, bytes)))
}

/// Adds the facts after an entry; returns the number of the last entry, and how many bytes were read.
pub(crate) async fn read_on(
    store: &dyn Store,
    run: Uuid,
    mut after: u64,
    facts: &mut Vec<stored::Fact>,
    most: usize,
) -> Result<Result<(u64, usize), JournalError>, StoreError> {
    let mut bytes = 0;
    loop {
        let page = store.journal(run, after, PAGE).await?;
        let page_bytes: usize = page.iter().map(|entry| entry.entry.len()).sum();
        let last = page.len() < PAGE as usize && page_bytes < JOURNAL_PAGE_BYTES;
        bytes += page_bytes;
        if bytes > most {
            return Ok(Err(JournalError::TooLarge { most }));
        }
        for entry in page {
            after = entry.sequence;
            match decode_entry(entry.sequence, entry.entry) {
                Ok(more) => facts.extend(more),
                Err(error) => return Ok(Err(error)),
            }
        }
        if last {
            return Ok(Ok((after, bytes)));
        }
    }
}
