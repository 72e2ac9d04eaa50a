//! What happens where a mapped file is cut short under the process: a store to a page that is gone is a SIGBUS, which would end
//! it. In place of that the whole map becomes memory without a file, and the trail says nothing from then on.

use std::ffi::c_void;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::Signal;

/// Maps that are mended. A process has one trail; tests have some.
const MAPS: usize = 64;
static BEGINS: [AtomicUsize; MAPS] = [const { AtomicUsize::new(0) }; MAPS];
const LENGTH: usize = super::LENGTH;

/// Whether a map was mended that no one was told of yet.
static CUT: AtomicBool = AtomicBool::new(false);

/// A map that is mended where its file is cut, until this is dropped.
#[derive(Debug)]
pub(super) struct Mended(usize);

impl Mended {
    /// From now on this map is mended; it has [`super::LENGTH`] bytes. It must outlive what is returned.
    pub(super) fn new(begin: *mut u8) -> io::Result<Self> {
        watch()?;
        let begin = begin as usize;
        let free =
            BEGINS.iter().position(|slot| slot.compare_exchange(0, begin, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        free.map(Self).ok_or_else(|| io::Error::other("too many trails in one process"))
    }
}

impl Drop for Mended {
    fn drop(&mut self) {
        BEGINS[self.0].store(0, Ordering::Release);
    }
}

/// Whether a trail was cut since this was asked last.
pub(super) fn take_cut() -> bool {
    CUT.load(Ordering::Relaxed) && CUT.swap(false, Ordering::Relaxed)
}

fn watch() -> io::Result<()> {
    static WATCHED: Once = Once::new();
    let mut done = Ok(());
    WATCHED.call_once(|| {
        #[expect(unsafe_code, reason = "a handler of a signal does only what a signal allows")]
        // SAFETY: the action loads and stores atomics, and makes one system call or aborts; all of these may be done in a
        // handler. The kernel has filled in the address for a SIGBUS.
        let watched = unsafe {
            signal_hook_registry::register_sigaction(Signal::BUS.as_raw(), |info| {
                if !mend(info.si_addr() as usize) {
                    // Not ours: the process ends of it, as it would without us.
                    std::process::abort();
                }
            })
        };
        done = watched.map(drop);
    });
    done
}

/// Puts memory in the place of the map that has this address; says whether there was one.
fn mend(address: usize) -> bool {
    let begins = BEGINS.iter().map(|slot| slot.load(Ordering::Acquire));
    let Some(begin) = begins.into_iter().find(|begin| *begin != 0 && (*begin..*begin + LENGTH).contains(&address))
    else {
        return false;
    };
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
    #[expect(unsafe_code, reason = "memory takes the place of a mapped file")]
    // SAFETY: the range is a map of ours, which lives; it is stored to by atomics alone, and no one relies on what it holds.
    let mended = unsafe { mmap_anonymous(begin as *mut c_void, LENGTH, protection, flags) };
    CUT.store(true, Ordering::Relaxed);
    mended.is_ok()
}
