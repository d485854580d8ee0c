//! Owns the limit of memory of a fuzzed program: what Rust code allocates is counted, and beyond the limit the
//! process ends, as with any other finding. (libFuzzer looks at the whole process only once a second.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that one input may take.
const MOST: usize = 512 << 20;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

impl Counting {
    fn count(bytes: usize) {
        if LIVE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > LIMIT.load(Ordering::Relaxed) {
            // The message takes memory too.
            LIMIT.store(usize::MAX, Ordering::Relaxed);
            eprintln!("an input took more than {} MB ({bytes} bytes at once)", MOST >> 20);
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
            std::process::abort();
        }
    }
}

// SAFETY: everything is the system's allocator's doing; beside it, only counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        Self::count(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Runs something that may take so much more than is taken now.
pub fn limited(work: impl FnOnce()) {
    LIMIT.store(LIVE.load(Ordering::Relaxed) + MOST, Ordering::Relaxed);
    work();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
}
