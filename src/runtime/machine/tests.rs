//! Tests of what is reported about the machine, among them a child process under a real limit of its cores.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Set by [`cores_reported_under`] for the child.
const REPORT: &str = "FROSTHEAD_TEST_REPORTS_CORES";
const ANSWER: &str = "allowed cores: ";

/// Also the program of the child in the tests below.
#[test]
fn there_is_at_least_one_core() {
    let cores = allowed_cores();
    assert!(cores >= 1);
    if std::env::var_os(REPORT).is_some() {
        println!("\n{ANSWER}{cores}");
    }
}

/// What a child reports that `wrapper` starts: a command line that ends by running its further arguments.
fn cores_reported_under(wrapper: &[&str]) -> Option<usize> {
    let this_program = std::env::current_exe().unwrap();
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(this_program)
        .args(["--exact", "runtime::machine::tests::there_is_at_least_one_core", "--nocapture"])
        .env(REPORT, "1")
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer = text.lines().find_map(|line| line.strip_prefix(ANSWER)?.parse().ok());
    assert!(answer.is_some() || !output.status.success(), "the child did not report: {text}");
    answer
}

/// A control group with a quota of cores, removed at the end.
struct Group(PathBuf);

impl Group {
    /// `None`: this machine or this user cannot make one.
    fn with_quota(hundredths_of_cores: u32) -> Option<Self> {
        let quota = hundredths_of_cores * 1000;
        let name = format!("frosthead-test-{}-{hundredths_of_cores}", std::process::id());
        // The v1 cpu hierarchy wins where both are mounted, as it does for the kernel and the standard
        // library.
        for (root, file, value) in [
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", quota.to_string()),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", quota.to_string()),
            ("/sys/fs/cgroup", "cpu.max", format!("{quota} 100000")),
            ("/sys/fs/cgroup/unified", "cpu.max", format!("{quota} 100000")),
        ] {
            let group = Self(Path::new(root).join(&name));
            // In the file system of control groups the files appear with the directory; writing never creates
            // one.
            let set = fs::create_dir(&group.0).is_ok() && group.0.join(file).exists();
            if set && fs::write(group.0.join(file), value).is_ok() {
                return Some(group);
            }
        }
        None
    }

    fn processes(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group can be removed once its last process is gone; a leftover is empty and harms nothing.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_quota_of_the_control_group_limits_the_cores() {
    // 150 hundredths round down: one core and a half feed one thread.
    for hundredths in [100, 150] {
        let reported = Group::with_quota(hundredths).and_then(|group| {
            let join = r#"echo $$ > "$0" && exec "$@""#;
            cores_reported_under(&["sh", "-c", join, &group.processes()])
        });
        if let Some(cores) = reported {
            assert_eq!(cores, 1, "under a quota of {hundredths} hundredths of a core");
        } else {
            warn(
                "the quota of a control group: no writable cpu hierarchy for this user; the affinity mask stands in",
            );
            assert_eq!(cores_reported_under(&["taskset", "-c", &first_allowed_core()]), Some(1), "taskset");
        }
    }
    if allowed_cores() == 1 {
        warn("a limit below what there is: this process has one core only");
    }
}

/// Past the test harness, which swallows what passing tests print.
fn warn(what: &str) {
    writeln!(std::io::stderr(), "\nNOT TESTED: {what}\n").unwrap();
}

#[test]
fn the_affinity_mask_limits_the_cores() {
    assert_eq!(
        cores_reported_under(&["taskset", "-c", &first_allowed_core()]),
        Some(1),
        "taskset (util-linux)"
    );
}

fn first_allowed_core() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

#[test]
fn the_processor_is_described() {
    let processor = processor();
    assert!(!processor.model.is_empty());
    let information = fs::read_to_string("/proc/cpuinfo").unwrap();
    for name in ["avx2", "avx512f", "avx512_vnni"] {
        let listed = information.split_ascii_whitespace().any(|word| word == name);
        assert_eq!(processor.features.contains(&name), listed, "{name}: the kernel's list disagrees");
    }
    assert_eq!(
        processor_model("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\n").as_deref(),
        Some("A CPU @ 2 GHz")
    );
    assert_eq!(processor_model("CPU part : 0xd0c\n"), None);
}

#[test]
fn memory_and_resident_set_are_plausible() {
    let memory = memory().unwrap();
    assert!(memory.total > 64 << 20 && memory.available <= memory.total, "{memory:?}");
    assert!(memory.limit.is_none_or(|limit| limit < memory.total));
    assert!(rss_bytes() > 1 << 20 && rss_bytes() < memory.total);
    assert!(peak_rss_bytes() <= memory.total);
}

#[test]
fn the_peak_counts_what_was_touched() {
    let before = rss_bytes();
    let mut block = vec![0_u8; 64 << 20];
    for page in block.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&block);
    drop(block);
    assert!(peak_rss_bytes() >= before + (60 << 20), "{before} → {}", peak_rss_bytes());
    reset_peak_rss().unwrap();
    assert!(peak_rss_bytes() >= 1 << 20);
}

#[cfg(all(feature = "serve", target_os = "linux", target_env = "gnu"))]
#[test]
fn memory_that_was_freed_goes_back_to_the_system() {
    // Blocks too small to be mapped of their own; every fourth page of them stays, so that none lies at the
    // end of the heap.
    let mut blocks: Vec<Option<Vec<u8>>> = (0..16 << 10).map(|_| Some(vec![1_u8; 4096])).collect();
    for (place, block) in blocks.iter_mut().enumerate() {
        if place % 64 != 0 {
            *block = None;
        }
    }
    let before = rss_bytes();
    give_back_memory();
    assert!(rss_bytes() + (40 << 20) < before, "{before} → {}", rss_bytes());
    assert_eq!(blocks.iter().flatten().count(), 256);
}

#[test]
fn sizes_are_read_in_bytes() {
    let information =
        "MemTotal:       16384 kB\nMemAvailable:   100 kB\nVmHWM:\t  7 kB\nHugePages_Total:  3\n";
    assert_eq!(kibibytes(information, "MemTotal"), Some(16384 * 1024));
    assert_eq!(kibibytes(information, "VmHWM"), Some(7 * 1024));
    assert_eq!(kibibytes(information, "Mem"), None);
    assert_eq!(kibibytes(information, "HugePages_Total"), None);
}

/// A hierarchy of control groups as files; returns the folder that stands for its mount point.
fn hierarchy(limits: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, limit) in limits {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, limit).unwrap();
    }
    folder
}

#[test]
fn the_smallest_memory_limit_on_the_way_up_counts() {
    let v2 = hierarchy(&[
        ("a/b/memory.max", "max\n"),
        ("a/memory.max", "1000\n"),
        ("memory.max", "5000\n"),
        ("other/memory.max", "1\n"),
    ]);
    let mounts = format!("30 20 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", v2.path().display());
    assert_eq!(memory_limit("0::/a/b\n", &mounts), Some(1000));
    assert_eq!(memory_limit("0::/\n", &mounts), Some(5000));
    // No hierarchy is mounted, or nothing is limited.
    assert_eq!(memory_limit("0::/a/b\n", ""), None);
    assert_eq!(memory_limit("0::/a/b\n", "1 2 0:1 / /proc rw - proc proc rw\n"), None);
}

#[test]
fn memory_limits_of_version_1_and_of_containers_are_read() {
    let v1 = hierarchy(&[("inner/memory.limit_in_bytes", "700\n"), ("memory.limit_in_bytes", "900\n")]);
    let mounts = |root: &str| {
        format!(
            "31 20 0:27 / /nowhere rw - cgroup cgroup rw,cpu,cpuacct\n32 20 0:28 {root} {} rw - cgroup cgroup rw,memory\n",
            v1.path().display()
        )
    };
    assert_eq!(memory_limit("5:cpu,cpuacct:/x\n4:memory:/inner\n0::/y\n", &mounts("/")), Some(700));
    // A container sees its own group as the root of the mount.
    assert_eq!(memory_limit("4:memory:/docker/123\n", &mounts("/docker/123")), Some(900));
    assert_eq!(memory_limit("4:memory:/docker/123/inner\n", &mounts("/docker/123")), Some(700));
}

#[test]
fn what_is_mapped_but_not_in_memory_is_counted_by_file() {
    let mappings = "7f10-7f20 r--p 00073000 fe:00 123                        /tmp/a b.frost\nSize:              100 kB\nKernelPageSize:        4 kB\nRss:                60 kB\nVmFlags: rd mr\n\
7f20-7f30 rw-p 00000000 00:00 0 \nSize:              900 kB\nRss:                 1 kB\n\
7f30-7f40 r--p 00075000 fe:00 123                        /tmp/a b.frost\nSize:               8 kB\nRss:                 8 kB\n\
7f40-7f50 r-xp 00000000 fe:00 124                        /lib/other.so\nSize:              500 kB\nRss:                 0 kB\n";
    assert_eq!(absent(mappings, Path::new("/tmp/a b.frost")), Some(40 << 10));
    assert_eq!(absent(mappings, Path::new("/lib/other.so")), Some(500 << 10));
    assert_eq!(absent(mappings, Path::new("/tmp/none")), None);
    // This very program is mapped, and not all of it is in memory or all of it is.
    assert!(absent_bytes(&std::env::current_exe().unwrap().canonicalize().unwrap()).is_some());
}

#[test]
fn the_name_alone_is_that_of_the_processor() {
    assert_eq!(processor_name(), processor().model);
}

#[test]
fn the_load_is_that_of_the_last_minute() {
    assert_eq!(first_number("8.56 8.89 8.99 11/412 3277\n"), Some(8.56));
    assert_eq!(first_number(""), None);
    assert!(load_average().is_none_or(|load| load >= 0.0));
}
