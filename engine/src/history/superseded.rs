//! What a run did before a retry that forgot it: the retry makes it again as another effect, and an end that takes steps
//! back takes back both (semantics.md S7, U3).

use std::collections::BTreeSet;

use super::History;
use super::reader::Reader;
use crate::journal::{JournalError, Kind};
use crate::journal_v1 as stored;
use crate::undo::{StepFate, Undoable};

type Numbered = (u64, stored::Fact);

/// Adds the done steps with an undo that a reset forgot to those that earlier ones did. Of these, it leaves out what was
/// taken back.
pub(super) fn add(earlier: &mut Vec<Undoable>, before: Vec<Numbered>, after: &[Numbered]) -> Result<(), JournalError> {
    let has_undo = |fact: &stored::Fact| match &fact.kind {
        Some(Kind::StepStarted(started)) => started.undo.is_some() || started.undo_by_response,
        _ => false,
    };
    if earlier.is_empty() && !before.iter().any(|(_, fact)| has_undo(fact)) {
        return Ok(());
    }
    let kept: BTreeSet<u64> = after.iter().map(|(sequence, _)| *sequence).collect();
    let known = read(before, std::mem::take(earlier))?.undoables;
    let stands = |undoable: &Undoable| undoable.is_left() && undoable.fate == StepFate::Happened;
    earlier.extend(known.into_iter().filter(|undoable| stands(undoable) && !kept.contains(&undoable.step)));
    Ok(())
}

/// Reads facts to which the resets among them were applied.
pub(super) fn read(facts: Vec<Numbered>, superseded: Vec<Undoable>) -> Result<History, JournalError> {
    let mut facts = facts.into_iter();
    let Some((_, stored::Fact { kind: Some(Kind::Created(created)), .. })) = facts.next() else {
        return Err(JournalError::NoBeginning);
    };
    let mut reader = Reader::new(History::new(created), superseded);
    for (sequence, fact) in facts {
        let at = crate::time::Timestamp::from_micros(fact.time_micros);
        let kind = fact.kind.ok_or(JournalError::UnknownKind { sequence })?;
        reader.fact(sequence, at, kind)?;
    }
    Ok(reader.finish())
}
