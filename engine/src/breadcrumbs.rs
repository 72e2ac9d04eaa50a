//! Which run each thread polls at this moment, in a file that outlives the process: what a process died of (semantics.md S5).
//!
//! The file is mapped into memory, so that a poll costs a few stores and no system call; what was stored is there for the
//! next process however this one ended, by a signal or by running out of memory. A power cut may lose it, and then no one
//! was to blame.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use memmap2::MmapRaw;
use uuid::Uuid;

use cut::Mended;

mod cut;

/// Marks a file in use by a process that was not told to end.
const MAGIC: u64 = u64::from_be_bytes(*b"GURATRL1");
/// The header and each thread have a cache line of their own.
const LINE: usize = 64;
/// Threads that leave a trail; polls of further ones leave none.
const THREADS: usize = 255;
const LENGTH: usize = LINE * (THREADS + 1);
/// Processes beside each other that have a trail, at most.
const BESIDE: u32 = 64;
const WORDS: usize = LINE / size_of::<u64>();

thread_local! {
    /// The trail that this thread has a line of, by its number, and which one.
    static LINE_OF: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Tells the trails of one process apart, from 1.
static TRAILS: AtomicUsize = AtomicUsize::new(1);

/// The trail of one process.
#[derive(Debug)]
pub struct Breadcrumbs {
    /// Dropped before the map.
    _mended: Mended,
    map: MmapRaw,
    number: usize,
    /// The next line that no thread has.
    next: AtomicUsize,
    suspects: HashSet<Uuid>,
    /// Keeps other processes from the file, if there can be others.
    _lock: Option<File>,
}

/// A poll that is continuing.
#[must_use]
pub(crate) struct Poll<'t>(Option<(&'t Breadcrumbs, usize)>);

impl Breadcrumbs {
    /// The same beside other processes of this machine, each of which has a file of its own: the first of `path`, `path.1` and so
    /// on that no living process has. What processes left in the others that did not come back is read too, and counts once.
    ///
    /// # Errors
    /// If all are taken, and as of [`Breadcrumbs::begin`].
    pub fn begin_beside_others(path: &Path) -> io::Result<Self> {
        let mut own: Option<Self> = None;
        let mut left = HashSet::new();
        for number in 0..BESIDE {
            let mut name = path.as_os_str().to_owned();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            let path = Path::new(&name);
            if own.is_some() && !path.exists() {
                continue;
            }
            let mut file = private().truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if own.is_none() {
                own = Some(Self { _lock: Some(file), ..Self::begin(path)? });
                continue;
            }
            let mut before = Vec::with_capacity(LENGTH);
            (&mut file).take(LENGTH as u64).read_to_end(&mut before)?;
            left.extend(suspects(&before, boot()));
            file.set_len(0)?;
        }
        let mut own = own.ok_or_else(|| io::Error::other(format!("{BESIDE} processes have one each already")))?;
        own.suspects.extend(left);
        Ok(own)
    }

    /// Reads what the process before left in this file, and begins a new trail there. The caller has the file to itself.
    ///
    /// # Errors
    /// If the file cannot be read, written or mapped.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let mut before = Vec::with_capacity(LENGTH);
        private().open(path)?.take(LENGTH as u64).read_to_end(&mut before)?;
        let boot = boot();
        let suspects = suspects(&before, boot);
        // Written out, not only sized: a page without a block would need one when it is stored to.
        let mut file = private().truncate(true).open(path)?;
        let mut begun = vec![0; LENGTH];
        begun[..8].copy_from_slice(&MAGIC.to_ne_bytes());
        begun[8..24].copy_from_slice(&boot.to_ne_bytes());
        file.write_all(&begun)?;
        let map = MmapRaw::map_raw(&file)?;
        let mended = Mended::new(map.as_mut_ptr())?;
        let number = TRAILS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { _mended: mended, map, number, next: AtomicUsize::new(1), suspects, _lock: None })
    }

    /// The runs that were polled at the moment at which the process before died. None where it was told to end, and where
    /// the machine was started again since.
    pub fn suspects(&self) -> HashSet<Uuid> {
        self.suspects.clone()
    }

    /// Whether its file was cut short since this was asked last: nothing of what comes is written down then.
    pub(crate) fn was_cut(&self) -> bool {
        cut::take_cut()
    }

    /// This process ends because it was told to, whatever is continuing: nothing counts against a run.
    pub fn close(&self) {
        self.word(0).store(0, Ordering::Relaxed);
    }

    /// From here on, until what is returned is dropped, this thread polls the run.
    pub(crate) fn enter(&self, run: Uuid) -> Poll<'_> {
        let Some(line) = self.line() else { return Poll(None) };
        let (high, low) = run.as_u64_pair();
        self.word(line * WORDS + 1).store(low, Ordering::Relaxed);
        self.word(line * WORDS).store(high, Ordering::Release);
        Poll(Some((self, line)))
    }

    /// The line of this thread, given now if it has none.
    fn line(&self) -> Option<usize> {
        let (number, line) = LINE_OF.get();
        let line = if number == self.number {
            line
        } else {
            let line = self.next.fetch_add(1, Ordering::Relaxed);
            LINE_OF.set((self.number, line));
            line
        };
        (line <= THREADS).then_some(line)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < LENGTH / size_of::<u64>());
        #[expect(unsafe_code, reason = "a file is mapped as memory, and several threads store to it")]
        // SAFETY: the map has LENGTH bytes, begins at a page, lives as long as `self`, and is stored to by atomics alone.
        unsafe {
            AtomicU64::from_ptr(self.map.as_mut_ptr().cast::<u64>().add(index))
        }
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        if let Some((breadcrumbs, line)) = self.0 {
            breadcrumbs.word(line * WORDS).store(0, Ordering::Relaxed);
        }
    }
}

/// A file that only this user reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn suspects(before: &[u8], boot: u128) -> HashSet<Uuid> {
    let word = |at: usize| before.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let same_boot = before.get(8..24) == Some(&boot.to_ne_bytes()[..]);
    if before.len() != LENGTH || word(0) != MAGIC || !same_boot {
        return HashSet::new();
    }
    let polled = (1..=THREADS).map(|line| (word(line * LINE), word(line * LINE + 8)));
    polled.filter(|(high, _)| *high != 0).map(|(high, low)| Uuid::from_u64_pair(high, low)).collect()
}

/// Tells one start of the machine from the next; 0 where it does not say.
fn boot() -> u128 {
    let id = File::open("/proc/sys/kernel/random/boot_id").and_then(io::read_to_string);
    id.ok().and_then(|id| Uuid::try_parse(id.trim()).ok()).map_or(0, |id| id.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u128) -> Uuid {
        Uuid::from_u128((1 << 64) + number)
    }

    #[test]
    fn a_file_that_is_cut_short_does_not_end_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let breadcrumbs = Breadcrumbs::begin(&path).unwrap();
        drop(breadcrumbs.enter(run(1)));
        File::create(&path).unwrap();
        for number in 1..10 {
            drop(breadcrumbs.enter(run(number)));
        }
        std::thread::scope(|threads| {
            for number in 1..10 {
                let breadcrumbs = &breadcrumbs;
                threads.spawn(move || drop(breadcrumbs.enter(run(number))));
            }
        });
        assert!(breadcrumbs.was_cut() && !breadcrumbs.was_cut());
        breadcrumbs.close();
        drop(breadcrumbs);
        let next = Breadcrumbs::begin(&path).unwrap();
        assert!(next.suspects().is_empty());
    }

    #[test]
    fn the_runs_that_were_polled_at_the_end_are_suspects_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let breadcrumbs = Breadcrumbs::begin(&path).unwrap();
        assert!(breadcrumbs.suspects().is_empty());
        drop(breadcrumbs.enter(run(1)));
        std::thread::scope(|threads| {
            threads.spawn(|| drop(breadcrumbs.enter(run(2))));
            for number in [3, 4] {
                // The process dies in the middle of these.
                let breadcrumbs = &breadcrumbs;
                threads.spawn(move || std::mem::forget(breadcrumbs.enter(run(number))));
            }
        });
        drop(breadcrumbs);
        let next = Breadcrumbs::begin(&path).unwrap();
        assert_eq!(next.suspects(), [run(3), run(4)].into());
        drop(next);
        assert!(Breadcrumbs::begin(&path).unwrap().suspects().is_empty(), "each death counts once");
    }

    #[test]
    fn processes_beside_each_other_have_a_trail_each_and_read_what_the_dead_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let begin = || Breadcrumbs::begin_beside_others(&path).unwrap();
        let (one, two, three) = (begin(), begin(), begin());
        std::thread::scope(|threads| {
            for (trail, number) in [(&one, 1), (&two, 2), (&three, 3)] {
                threads.spawn(move || std::mem::forget(trail.enter(run(number))));
            }
        });
        // Two of them die; the third lives, whatever it polls.
        drop((one, three));
        let back = begin();
        assert_eq!(back.suspects(), [run(1), run(3)].into());
        let other = begin();
        assert!(other.suspects().is_empty(), "each death counts once");
        drop(two);
        assert_eq!(begin().suspects(), [run(2)].into());
    }

    #[test]
    fn a_process_that_was_told_to_end_leaves_no_suspects() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trail");
        let breadcrumbs = Breadcrumbs::begin(&path).unwrap();
        std::mem::forget(breadcrumbs.enter(run(1)));
        breadcrumbs.close();
        drop(breadcrumbs);
        assert!(Breadcrumbs::begin(&path).unwrap().suspects().is_empty());
    }

    #[test]
    fn a_file_of_another_boot_or_of_something_else_blames_nobody() {
        let mut file = vec![0; LENGTH];
        file[..8].copy_from_slice(&MAGIC.to_ne_bytes());
        file[8..24].copy_from_slice(&7_u128.to_ne_bytes());
        file[LINE] = 9;
        assert_eq!(suspects(&file, 7).len(), 1);
        assert!(suspects(&file, 8).is_empty());
        assert!(suspects(&file[..LENGTH - 1], 7).is_empty());
        assert!(suspects(b"something else", 7).is_empty());
    }

    #[test]
    fn more_threads_than_there_are_lines_leave_no_trail() {
        let folder = tempfile::tempdir().unwrap();
        let breadcrumbs = Breadcrumbs::begin(&folder.path().join("trail")).unwrap();
        breadcrumbs.next.store(THREADS + 1, Ordering::Relaxed);
        assert!(breadcrumbs.enter(run(1)).0.is_none());
    }
}
