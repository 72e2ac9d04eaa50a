//! How much goes into one answer: gRPC clients take 4 MiB unless told otherwise.

use crate::proto::orchestrator::admin::v1::Run;
use engine::store::Message;
use engine::view::StepView;

use crate::text::cut;

/// Bytes of an answer that are for what may be long. The rest of it has half a megabyte.
const ROOM: usize = 3 << 20;

/// Bytes of a step beside its texts and payloads.
const STEP: usize = 160;

/// Longest message of an error, in bytes.
const ERROR_MESSAGE: usize = 8 << 10;

/// Longest text of a run in a list, in characters.
const LISTED_TEXT: usize = 500;

/// What is left of an answer.
#[derive(Debug)]
pub(in super::super) struct Room {
    left: usize,
    is_short: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(ROOM)
    }
}

impl Room {
    pub(super) const fn of(bytes: usize) -> Self {
        Self { left: bytes, is_short: false }
    }

    /// Takes so many bytes, or none where there are not as many.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.is_short |= left.is_none();
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Whether something did not fit.
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// The first of a list, as many as a tenth of an answer has room for.
    pub(super) fn list<T>(&mut self, items: Vec<T>) -> Vec<T>
    where
        T: Length,
    {
        let mut share = Self::of(ROOM / 10);
        let before = items.len();
        let fits: Vec<T> = items.into_iter().take_while(|item| share.take(item.length())).collect();
        self.is_short |= fits.len() < before;
        self.left = self.left.saturating_sub(ROOM / 10 - share.left);
        fits
    }
}

/// How long something is in an answer, without its payload.
pub(super) trait Length {
    fn length(&self) -> usize;
}

impl Length for String {
    fn length(&self) -> usize {
        self.len() + 8
    }
}

impl Length for Message {
    fn length(&self) -> usize {
        self.name.len() + 64
    }
}

impl Length for StepView {
    fn length(&self) -> usize {
        let error = self.failure.as_ref().map_or(0, |failure| failure.message().len().min(ERROR_MESSAGE));
        let texts = [self.key.as_deref(), self.message_type.as_deref(), self.undoes.as_deref()];
        let texts: usize = texts.into_iter().flatten().map(str::len).sum();
        STEP + self.branch.len() + 2 * self.name.len() + error + texts
    }
}

/// The steps that fit, chosen again where all of them do not; they leave half of the room to payloads.
pub(super) fn fitting(
    steps: Vec<StepView>,
    room: &mut Room,
    choose: impl Fn(Vec<StepView>, usize) -> Vec<StepView>,
) -> Vec<StepView> {
    let most = ROOM / 2;
    let mut steps = steps;
    loop {
        let length: usize = steps.iter().map(Length::length).sum();
        if length <= most || steps.is_empty() {
            room.left = room.left.saturating_sub(length);
            return steps;
        }
        room.is_short = true;
        let fewer = (steps.len() * most / length).min(steps.len() - 1);
        steps = choose(steps, fewer);
    }
}

/// The message of an error; one that was stored may have any length.
pub(super) fn error_message(text: &str) -> String {
    if text.len() <= ERROR_MESSAGE { text.to_owned() } else { cut(text, ERROR_MESSAGE / 4).into_owned() }
}

/// Cuts the texts of a run in a list.
pub(super) fn shorten(run: &mut Run) {
    for text in [&mut run.reason, &mut run.cancel_reason, &mut run.pause_reason] {
        *text = cut(text, LISTED_TEXT).into_owned();
    }
    if let Some(error) = &mut run.error {
        error.message = cut(&error.message, LISTED_TEXT).into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let mut room = Room::of(10);
        assert!(room.take(7) && !room.is_short());
        assert!(!room.take(4) && room.is_short());
        assert!(room.take(3));
        let mut room = Room::default();
        assert_eq!(room.list(vec!["x".repeat(500); 50]).len(), 50);
        assert!(!room.is_short());
        let cut = room.list(vec!["x".repeat(500); 50_000]).len();
        assert!((100..1_000).contains(&cut) && room.is_short(), "{cut}");
    }
}
