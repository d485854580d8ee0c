//! Owns the points at which tests kill the process, compiled only with the feature `fault-injection`.
//!
//! Refuses to do anything in a normal build.

/// Kills this process with SIGKILL when `$FROSTHEAD_KILL_AT` is `NAME:N` and this is the N-th passage of that point.
#[cfg(feature = "fault-injection")]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let value = std::env::var("FROSTHEAD_KILL_AT").ok()?;
        let (name, passage) = value.split_once(':')?;
        Some((name.to_owned(), passage.parse().ok()?))
    });
    if let Some((point, passage)) = wanted
        && point == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *passage
    {
        // Nothing can be done if the kill fails; the test that asked for it will notice.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Does nothing: this build cannot be killed by tests.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn point(_: &str) {}
