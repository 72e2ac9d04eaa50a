//! Runs code of a workflow so that its panics are caught, with where they happened (semantics.md S5).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Longest message that is kept, in characters.
const LONGEST: usize = 2_000;

/// A panic of a workflow's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panicked {
    /// What it said.
    pub(crate) message: String,
    /// File, line and column; empty if not known.
    pub(crate) location: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.location.is_empty() { Ok(()) } else { write!(f, " (at {})", self.location) }
    }
}

thread_local! {
    /// Whether this thread runs such code.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
    /// Whether nothing is printed of panics, because the caller tells them.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of such code happened.
    static LOCATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs it.
///
/// # Errors
/// If it panicked. What it was working on must not be used any more.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    watch();
    let before = CATCHES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    CATCHES.set(before);
    result.map_err(|panic| Panicked { message: message(panic.as_ref()), location: LOCATION.take() })
}

/// Whether this thread runs code of a workflow: for a panic hook, which need not tell what the log of the run tells.
pub fn is_caught() -> bool {
    CATCHES.get()
}

/// Runs it so that the process prints nothing of panics that are caught in it.
pub(crate) fn quietly<T>(tries: impl FnOnce() -> T) -> T {
    let before = IS_QUIET.replace(true);
    let result = tries();
    IS_QUIET.set(before);
    result
}

/// Notes the location of panics that are caught here, beside the hook that was there before.
fn watch() {
    static WATCHES: Once = Once::new();
    WATCHES.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| {
            if CATCHES.get() {
                note(panic);
            }
            if is_printed() {
                others(panic);
            }
        }));
    });
}

/// Whether the process prints a panic of this thread.
fn is_printed() -> bool {
    !(CATCHES.get() && IS_QUIET.get())
}

fn note(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    LOCATION.with(|last| *last.borrow_mut() = location);
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.map_or_else(|| "a panic without a message".to_owned(), |text| text.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_and_where_it_happened() {
        let panicked = caught(|| assert!(std::hint::black_box(false), "no luck")).unwrap_err();
        assert_eq!(panicked.message, "no luck");
        let (file, place) = panicked.location.split_once(':').unwrap();
        assert_eq!((file, place.split(':').count()), ("engine/src/panics.rs", 2));
        let long = caught(|| std::panic::panic_any("é".repeat(5_000))).unwrap_err();
        assert_eq!(long.message.chars().count(), LONGEST);
        let odd = caught(|| std::panic::panic_any(5_u8)).unwrap_err();
        assert!(odd.to_string().starts_with("a panic without a message (at "), "{odd}");
        assert_eq!(caught(|| 5), Ok(5));
    }

    #[test]
    fn only_panics_that_somebody_else_tells_are_not_printed() {
        assert!(is_printed() && !is_caught());
        assert_eq!(caught(|| (is_printed(), is_caught())), Ok((true, true)));
        assert_eq!(quietly(|| caught(is_printed)), Ok(false));
        assert!(quietly(is_printed), "a panic of others");
        let _ = quietly(|| caught(|| std::panic::panic_any(1)));
        assert_eq!(caught(is_printed), Ok(true));
    }
}
