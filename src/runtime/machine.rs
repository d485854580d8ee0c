//! Owns what the program must know about the machine it runs on: cores it may use, processor, memory, its own
//! footprint.
//!
//! Refuses to decide anything: it reports, the callers choose. What the system does not say is `None` or 0,
//! never a guess.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::start_of;

/// The processor, as far as inference cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    /// The name that the system gives it, else the architecture.
    pub model: String,
    /// Instruction sets that matrix products use, of those that this processor has (`avx2`, `avx512_vnni`,
    /// `i8mm`, …).
    pub features: Vec<&'static str>,
}

/// Main memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What the machine has.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
    /// The smallest limit of the process's control group and those above it, if there is one below `total`.
    pub limit: Option<u64>,
}

/// How many cores this process may use: its affinity mask and its control group's quota, rounded down, at
/// least 1.
///
/// The standard library honours both on Linux (cgroup v1 and v2); this is its count, with 1 when it cannot
/// tell.
#[must_use]
pub fn allowed_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Lets this process have as many files and connections open as the system allows it at most; the usual limit
/// is far lower.
pub fn allow_open_files() {
    let rustix::process::Rlimit { maximum, .. } =
        rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: maximum, maximum };
    // Where the system refuses, the lower limit stays, and is told when it is met.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, all);
}

/// The name of the processor alone, as in [`processor`]: quick, since only the beginning of `/proc/cpuinfo`
/// is made for it, which is long where there are many cores.
#[must_use]
pub fn processor_name() -> String {
    let start = start_of(Path::new("/proc/cpuinfo"), 4096).unwrap_or_default();
    let name = processor_model(&String::from_utf8_lossy(&start));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The processor of this machine.
#[must_use]
pub fn processor() -> Processor {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Processor {
        model: processor_model(&information).unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        features: processor_features(),
    }
}

/// What has to be the same of two processors so that they compute the same bits: the architecture, and the
/// instructions that matrix products use.
#[must_use]
pub fn processor_kind() -> String {
    let mut kind = vec![std::env::consts::ARCH];
    kind.extend(processor_features());
    kind.join(" ")
}

fn processor_model(information: &str) -> Option<String> {
    information.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    })
}

#[cfg(target_arch = "x86_64")]
fn processor_features() -> Vec<&'static str> {
    // AMX is not among the features that stable Rust detects: the kernel lists it.
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let listed = |name| information.split_ascii_whitespace().any(|word| word == name);
    [
        ("sse4.1", std::is_x86_feature_detected!("sse4.1")),
        ("avx", std::is_x86_feature_detected!("avx")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("f16c", std::is_x86_feature_detected!("f16c")),
        ("avx_vnni", listed("avx_vnni")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
        ("avx512_vnni", std::is_x86_feature_detected!("avx512vnni")),
        ("avx512_bf16", std::is_x86_feature_detected!("avx512bf16")),
        ("amx_int8", listed("amx_int8")),
        ("amx_bf16", listed("amx_bf16")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

#[cfg(target_arch = "aarch64")]
fn processor_features() -> Vec<&'static str> {
    [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ]
    .into_iter()
    .filter_map(|(name, there)| there.then_some(name))
    .collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn processor_features() -> Vec<&'static str> {
    Vec::new()
}

/// The memory of this machine; `None` where the system does not say (no `/proc/meminfo`).
#[must_use]
pub fn memory() -> Option<Memory> {
    let information = fs::read_to_string("/proc/meminfo").ok()?;
    let total = kibibytes(&information, "MemTotal")?;
    let limit = memory_limit(
        &fs::read_to_string("/proc/self/cgroup").unwrap_or_default(),
        &fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
    );
    Some(Memory {
        total,
        available: kibibytes(&information, "MemAvailable")?,
        limit: limit.filter(|&limit| limit < total),
    })
}

/// Processes that ran or waited for a core, on average over the last minute; `None` where the system does not
/// say.
#[must_use]
pub fn load_average() -> Option<f64> {
    first_number(&fs::read_to_string("/proc/loadavg").ok()?)
}

/// proc(5): the averages over 1, 5 and 15 minutes come first.
fn first_number(averages: &str) -> Option<f64> {
    averages.split_ascii_whitespace().next()?.parse().ok()
}

/// The largest resident set this process had so far (since [`reset_peak_rss`]), in bytes; 0 where the system
/// does not say.
#[must_use]
pub fn peak_rss_bytes() -> u64 {
    process_status("VmHWM")
}

/// The resident set of this process now, in bytes; 0 where the system does not say.
#[must_use]
pub fn rss_bytes() -> u64 {
    process_status("VmRSS")
}

/// Gives memory that was freed back to the system. glibc keeps it when something younger is still held behind
/// it, as after a burst of clients, and grows with every burst; other C libraries give it back by themselves.
#[cfg(feature = "serve")]
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes no pointer and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes of a file that this process has mapped but not in memory; `None` where the system does not say, or
/// nothing is mapped.
#[must_use]
pub fn absent_bytes(file: &Path) -> Option<u64> {
    absent(&fs::read_to_string("/proc/self/smaps").ok()?, file)
}

/// The same from the text of `/proc/PID/smaps`: a line `start-end rights offset device inode path` before
/// each mapping's sizes.
fn absent(mappings: &str, file: &Path) -> Option<u64> {
    let (mut ours, mut absent) = (false, None);
    for line in mappings.lines() {
        let (key, rest) = line.split_once(char::is_whitespace)?;
        match key {
            "Size:" | "Rss:" if ours => {
                let kibibytes: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
                let so_far = absent.unwrap_or(0_u64);
                let bytes = kibibytes << 10;
                absent = Some(if key == "Size:" { so_far + bytes } else { so_far.saturating_sub(bytes) });
            }
            _ if !key.ends_with(':') => {
                let path = rest.splitn(5, ' ').nth(4).and_then(|rest| rest.split_once('/'));
                ours = path.is_some_and(|(_, path)| Path::new("/").join(path) == file);
            }
            _ => {}
        }
    }
    absent
}

/// Makes [`peak_rss_bytes`] count from now on.
///
/// # Errors
/// The system cannot do it (not Linux, or `/proc` is not writable).
pub fn reset_peak_rss() -> Result<()> {
    // proc(5): 5 resets the peak resident set size to the current one.
    fs::write("/proc/self/clear_refs", "5")
        .map_err(|error| Error::io("reset the peak memory", "/proc/self/clear_refs", error))
}

fn process_status(key: &str) -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| kibibytes(&status, key)).unwrap_or(0)
}

/// The value of a `Key:   123 kB` line, in bytes.
fn kibibytes(information: &str, key: &str) -> Option<u64> {
    information.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        if found != key {
            return None;
        }
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    })
}

/// The smallest memory limit on the way from this process's control group to the root of its mount.
///
/// `groups` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`; v1 and v2 hierarchies, also side by
/// side.
fn memory_limit(groups: &str, mounts: &str) -> Option<u64> {
    let mut smallest: Option<u64> = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let file = match controllers {
            "" => "memory.max",
            list if list.split(',').any(|name| name == "memory") => "memory.limit_in_bytes",
            _ => continue,
        };
        let Some((mount, root)) = group_mount(mounts, controllers) else { continue };
        // In a container the mount shows only a part of the hierarchy: its root is that part's own name.
        let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
        let folder = mount.join(below);
        for ancestor in folder.ancestors().take_while(|ancestor| ancestor.starts_with(&mount)) {
            let limit = fs::read_to_string(ancestor.join(file)).ok();
            let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
            smallest = smallest.into_iter().chain(limit).min();
        }
    }
    smallest
}

/// Where the hierarchy of `controllers` (empty: v2) is mounted, and which of its groups is mounted there.
fn group_mount<'a>(mounts: &'a str, controllers: &str) -> Option<(PathBuf, &'a Path)> {
    mounts.lines().find_map(|line| {
        // proc(5): ID parent major:minor root mount-point options … - type source super-options
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let fits = match kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => !controllers.is_empty() && options.split(',').any(|option| option == "memory"),
            _ => false,
        };
        fits.then(|| (PathBuf::from(point), Path::new(root)))
    })
}

#[cfg(test)]
mod tests;
