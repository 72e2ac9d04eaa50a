//! The instants of a cron pattern in a zone: what happens to local times that clocks skip, or show twice.
//!
//! Time is looked at in pieces in which the clocks do not change. Within one, an instant is a local time less the
//! offset; at its edges the policies say which local times count.

use super::cron::Cron;
use super::spec::{DstGap, DstOverlap};
use super::zone::{Piece, Zone};

/// No change of a zone's clocks is larger, in seconds: a search that jumps this short of a match misses none.
const MARGIN: i64 = 3 * 86_400;
/// Pieces that are looked at in a search, at most. A jump leads to a match within few of them.
const PIECES: usize = 10_000;

/// A pattern on the clocks of a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local<'a> {
    pub(super) cron: &'a Cron,
    pub(super) zone: &'a Zone,
    pub(super) gap: DstGap,
    pub(super) overlap: DstOverlap,
}

impl Local<'_> {
    /// The first instant that is not before `from`, in seconds since the Unix epoch.
    pub(super) fn at_or_after(&self, from: i64) -> Option<i64> {
        let mut from = from.max(0);
        for _ in 0..PIECES {
            let piece = self.zone.piece(from);
            if let Some(found) = self.first_in(piece, from) {
                return Some(found);
            }
            from = piece.end?;
            let next = self.cron.at_or_after(from + piece.offset - MARGIN)?;
            from = from.max(next - MARGIN);
        }
        None
    }

    /// The last instant that is not after `from`, in seconds since the Unix epoch.
    pub(super) fn at_or_before(&self, from: i64) -> Option<i64> {
        let mut from = from;
        for _ in 0..PIECES {
            let piece = self.zone.piece(from);
            if let Some(found) = self.last_in(piece, from) {
                return Some(found);
            }
            from = piece.start? - 1;
            let next = self.cron.at_or_before(from + piece.offset + MARGIN)?;
            from = from.min(next + MARGIN);
        }
        None
    }

    fn first_in(&self, piece: Piece, from: i64) -> Option<i64> {
        let (low, high) = self.shown(piece);
        let plain = self
            .cron
            .at_or_after(low.map_or(from + piece.offset, |low| low.max(from + piece.offset)))
            .filter(|local| high.is_none_or(|high| *local < high))
            .map(|local| local - piece.offset);
        let Some((start, gap_low, gap_high)) = gap_before(piece) else { return plain };
        let of_gap = match self.gap {
            DstGap::Skip => None,
            DstGap::EndOfGap => (from <= start && self.in_gap(gap_low, gap_high)).then_some(start),
            DstGap::Shift => self
                .cron
                .at_or_after(gap_low.max(from + piece.before))
                .filter(|local| *local < gap_high)
                .map(|local| local - piece.before),
        };
        earlier(plain, of_gap)
    }

    fn last_in(&self, piece: Piece, from: i64) -> Option<i64> {
        let (low, high) = self.shown(piece);
        let plain = self
            .cron
            .at_or_before(high.map_or(from + piece.offset, |high| (high - 1).min(from + piece.offset)))
            .filter(|local| low.is_none_or(|low| *local >= low))
            .map(|local| local - piece.offset);
        let Some((start, gap_low, gap_high)) = gap_before(piece) else { return plain };
        let of_gap = match self.gap {
            DstGap::Skip => None,
            DstGap::EndOfGap => self.in_gap(gap_low, gap_high).then_some(start),
            DstGap::Shift => self
                .cron
                .at_or_before((gap_high - 1).min(from + piece.before))
                .filter(|local| *local >= gap_low)
                .map(|local| local - piece.before),
        };
        plain.max(of_gap)
    }

    /// The local times of a piece that count: those that clocks show again, or have shown before, only as the policy
    /// says.
    fn shown(&self, piece: Piece) -> (Option<i64>, Option<i64>) {
        let low = piece.start.map(|start| match self.overlap {
            DstOverlap::First => start + piece.before.max(piece.offset),
            DstOverlap::Last | DstOverlap::Both => start + piece.offset,
        });
        let high = piece.end.map(|end| match self.overlap {
            DstOverlap::Last => end + piece.after.min(piece.offset),
            DstOverlap::First | DstOverlap::Both => end + piece.offset,
        });
        (low, high)
    }

    fn in_gap(&self, low: i64, high: i64) -> bool {
        self.cron.at_or_after(low).is_some_and(|local| local < high)
    }
}

/// The local times that clocks skip where the piece begins, and when that is.
fn gap_before(piece: Piece) -> Option<(i64, i64, i64)> {
    let start = piece.start?;
    (piece.before < piece.offset).then_some((start, start + piece.before, start + piece.offset))
}

fn earlier(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
