//! Owns the points at which a kill test can end the process, so that a crash is tried and not argued about.
//!
//! Refuses to exist in a release: without the cargo feature `fault-injection` a point is an empty inline
//! function. With it, `FROSTHEAD_KILL_AT="NAME:N"` makes the process send itself SIGKILL at the N-th passage
//! (from 1) of the point NAME.
//!
//! Points, passed once for every file that is written whole: `file-before-write`, `file-half-written` (half
//! of the bytes are in the temporary file; of files whose bytes are there at once), `file-before-rename` (all
//! bytes are, and on the disk), `file-after-rename`; and for every directory `directory-before-rename` and
//! `directory-after-rename`.

/// Marks a point; ends the process here when the environment asks for it.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// Marks a point; ends the process here when the environment asks for it.
///
/// # Panics
/// `FROSTHEAD_KILL_AT` is not `NAME:N`: a kill test with a spelling mistake must not pass.
#[cfg(feature = "fault-injection")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    let plan = PLAN.get_or_init(|| {
        let value = std::env::var("FROSTHEAD_KILL_AT").ok()?;
        let parsed = value.split_once(':').and_then(|(name, n)| Some((name.to_owned(), n.parse().ok()?)));
        assert!(parsed.is_some(), "FROSTHEAD_KILL_AT is {value:?}, expected NAME:N");
        parsed
    });
    if let Some((wanted, passage)) = plan
        && wanted == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passage
    {
        let this_process = rustix::process::getpid();
        rustix::process::kill_process(this_process, rustix::process::Signal::KILL)
            .expect("a process may kill itself");
    }
}
