//! The memory contract: under a real limit a bundle predicts the same, within it, or says what would be
//! enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Finished, command, demo, directory, finish, frosthead, real, text};
use frosthead::{Backbone, Bundle};

/// A control group with a memory limit, for one process; none where this user may not make one.
struct Group(PathBuf);

impl Group {
    fn limited(mebibytes: u64) -> Option<Self> {
        let name = format!("frosthead-test-{}-{mebibytes}", std::process::id());
        let (root, file) = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ]
        .into_iter()
        .find(|(root, file)| {
            let group = Path::new(root).join(&name);
            std::fs::create_dir(&group).is_ok() && group.join(file).exists()
        })?;
        let group = Self(Path::new(root).join(&name));
        std::fs::write(group.0.join(file), (mebibytes << 20).to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process is gone; a leftover is empty and harms nothing.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Runs the binary in a control group of so many MiB, with `--memory` of as many.
fn limited(mebibytes: u64, arguments: &[&str]) -> Finished {
    let memory = format!("{mebibytes}M");
    let arguments = [arguments, &["--memory", &memory]].concat();
    let Some(group) = Group::limited(mebibytes) else {
        eprintln!("\nNOT TESTED: a control group of {memory}: this user may not make one\n");
        return frosthead(&arguments);
    };
    let own = command(&arguments);
    let mut joined = Command::new("sh");
    joined.args([
        "-c",
        r#"echo $$ > "$0" && exec "$@""#,
        &group.0.join("cgroup.procs").display().to_string(),
    ]);
    joined.arg(own.get_program()).args(own.get_args());
    own.get_envs().for_each(|(name, value)| {
        match value {
            Some(value) => joined.env(name, value),
            None => joined.env_remove(name),
        };
    });
    finish(joined, &arguments)
}

#[test]
fn a_bundle_stays_within_the_memory_it_is_given_and_more_makes_its_batches_larger() {
    let (directory, data) = (directory(), demo(600));
    let path = |name: &str| directory.path().join(name);
    let (run, fp32, int8) = (path("run"), path("fp32.frost"), path("int8.frost"));
    let train = ["train", text(&data), "--backbone", real(), "--out", text(&run)];
    frosthead(&[&train[..], &["--task", "domain", "--alpha", "1000"]].concat()).success();
    frosthead(&["bundle", text(&run), "--out", text(&fp32)]).success();
    let precision = ["--precision", "int8", "--max-drop", "5"];
    frosthead(&[&["bundle", text(&run), "--out", text(&int8)], &precision[..]].concat()).success();
    for (bundle, limits) in [(&int8, [104, 160]), (&fp32, [160, 256])] {
        let free = frosthead(&["predict", text(&data), "--model", text(bundle)]).success();
        let mut budgets = Vec::new();
        for limit in limits {
            let within = limited(limit, &["predict", text(&data), "--model", text(bundle)]).success();
            assert!(within.stdout == free.stdout, "--memory {limit}M changes what is predicted");
            let figures =
                limited(limit, &["bench", "latency", text(&data), "--json", "--model", text(bundle)])
                    .success()
                    .json();
            let peak = figures["peak_rss_bytes"].as_u64().unwrap();
            assert!(peak <= limit << 20, "{peak} bytes of {limit}M");
            let doctor = limited(limit, &["doctor", text(bundle), "--json"]).success().json();
            let plan = &doctor["model"]["memory"];
            assert_eq!(plan["limit"], limit << 20);
            let rehearsed = plan["rehearsed"].as_u64().unwrap();
            let reserve = plan["reserve"].as_u64().unwrap();
            assert!(rehearsed + reserve <= limit << 20, "{plan}");
            // Whatever was tried and given up, a plan tells all that is taken.
            assert!(peak <= rehearsed + reserve, "{peak} bytes, but {plan}");
            budgets.push(plan["token_budget"].as_u64().unwrap());
        }
        assert!(budgets[0] < budgets[1] && budgets[0] >= 256, "{budgets:?}");
        let shown = limited(limits[1], &["doctor", text(bundle)]).success();
        // Whatever this processor has, 8-bit codes say how they are multiplied.
        assert_eq!(shown.stdout.contains("the one variant for all processors"), bundle == &int8);
        let line = shown.stdout.lines().find(|line| line.starts_with("memory plan")).unwrap();
        assert!(line.contains("256") && line.contains("in reserve"), "{line}");
    }
    what_would_be_enough_is_enough(&fp32, &data);
    // Each precision is tuned on its own, and fp32 as the backbone it was made from.
    let network = |path| Bundle::open(path, None).unwrap().backbone().unwrap().network_fingerprint();
    let own = Backbone::open(Path::new(real())).unwrap().network_fingerprint();
    assert_eq!(network(&fp32), own);
    assert_ne!(network(&int8), own);
    frosthead(&["predict", text(&data), "--model", text(&run), "--memory", "1G"])
        .fails_with(&["bundles only", "frosthead bundle"]);
    frosthead(&["predict", text(&data), "--model", text(&int8), "--memory", "much"]).fails_with(&["96M"]);
}

/// Too little is refused, before the network is loaded or after, and in the end with an amount that suffices.
fn what_would_be_enough_is_enough(bundle: &Path, data: &Path) {
    let predict = ["predict", text(data), "--model", text(bundle)];
    let with = |mebibytes: u64| frosthead(&[&predict[..], &["--memory", &format!("{mebibytes}M")]].concat());
    with(40).fails_with(&["needs more memory", "40M", "more than", "--precision int8"]);
    let mut limit = 120;
    let enough = loop {
        let refused =
            with(limit).fails_with(&["needs more memory", &format!("{limit}M"), "--precision int8"]);
        let (_, said) = refused.stderr.split_once("expected ").unwrap();
        let (least, _) = said.split_once('M').unwrap();
        match least.strip_prefix("more than ") {
            None => break least.parse::<u64>().unwrap(),
            Some(more) => {
                let more = more.parse::<u64>().unwrap();
                assert!(more >= limit, "{more}M would be no more than {limit}M");
                limit = more + 1;
            }
        }
    };
    // What a process takes varies by some pages from one to the next.
    with(enough + 2).success();
}
