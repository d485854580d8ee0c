//! Tests of the store as a whole: on real files, with real processes, and with real kills where the feature
//! allows.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::manage::Removed;
use super::*;

const WIDTH: usize = 3;

fn key(name: &str) -> StoreKey {
    StoreKey { fields: BTreeMap::from([("weights".to_owned(), name.to_owned())]), ..StoreKey::default() }
}

fn open(root: &Path) -> Store {
    Store::open(root, &key("a"), WIDTH).unwrap()
}

fn text(number: usize) -> TextKey {
    TextKey::of(&format!("text {number}"))
}

/// The row of a text: other values for each text and each position.
fn row(number: usize) -> [f32; WIDTH] {
    [0, 1, 2].map(|position| (number * 10 + position) as f32 + 0.25)
}

fn fill(store: &mut Store, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        store.append(text(number), &row(number)).unwrap();
    }
}

#[track_caller]
fn assert_rows(store: &Store, numbers: std::ops::Range<usize>) {
    assert_eq!(store.len(), numbers.len());
    for number in numbers {
        let mut found = [0.0; WIDTH];
        assert!(store.contains(&text(number)), "text {number} is missing");
        assert!(store.read(&text(number), 0, &mut found).unwrap());
        assert_eq!(found, row(number), "text {number}");
    }
}

/// The names in `parts/` that end like this, as paths.
fn parts(store_path: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = std::fs::read_dir(store_path.join("parts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect::<Vec<_>>();
    found.sort();
    found
}

/// Every file under `root` with its bytes.
fn everything(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn set_last_used(store_path: &Path, ago: Duration) {
    let lock = File::options().write(true).open(store_path.join("lock")).unwrap();
    lock.set_modified(SystemTime::now() - ago).unwrap();
}

// ---- rows in and out

#[test]
fn rows_are_there_at_once_and_after_opening_again() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    assert_eq!(store.len(), 0);
    fill(&mut store, 0..1_300);
    assert_rows(&store, 0..1_300);
    assert_eq!(parts(store.path(), ".part").len(), 2, "512 rows a part; 276 rows wait");
    store.flush().unwrap();
    assert_rows(&store, 0..1_300);
    assert_eq!(parts(store.path(), "").len(), 3);
    drop(store);
    let store = open(root.path());
    assert_rows(&store, 0..1_300);
    assert!(store.damaged().is_empty());
    assert_eq!(store.width(), WIDTH);
    assert!(!store.contains(&text(1_300)));
    assert!(!store.read(&text(1_300), 0, &mut [0.0]).unwrap());
}

#[test]
fn a_part_is_written_after_4_megabytes_of_rows() {
    let root = tempfile::tempdir().unwrap();
    let width = 300_000; // 1.2 MB a row: three rows fit into 4 MB
    let mut store = Store::open(root.path(), &key("wide"), width).unwrap();
    for number in 0..3 {
        assert_eq!(parts(store.path(), ".part").len(), 0);
        store.append(text(number), &vec![number as f32; width]).unwrap();
    }
    assert_eq!(parts(store.path(), ".part").len(), 1);
    let mut whole = vec![0.0; width];
    assert!(store.read(&text(2), 0, &mut whole).unwrap());
    assert!(whole.iter().all(|&value| value == 2.0));
}

#[test]
fn a_part_is_written_after_5_seconds() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..2);
    assert_eq!(parts(store.path(), ".part").len(), 0);
    store.open.pending.since = Some(Instant::now().checked_sub(open::FLUSH_AFTER).unwrap());
    fill(&mut store, 2..3);
    assert_eq!(parts(store.path(), ".part").len(), 1);
    assert!(store.open.pending.since.is_none());
    assert_rows(&store, 0..3);
}

#[test]
fn duplicates_are_ignored() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    store.append(text(1), &[9.0; WIDTH]).unwrap();
    store.flush().unwrap();
    store.append(text(2), &[9.0; WIDTH]).unwrap();
    store.flush().unwrap();
    assert_rows(&store, 0..3);
    assert_eq!(list(root.path()).unwrap()[0].rows, 3);
}

#[test]
fn every_slice_of_a_row_is_the_same_before_and_after_writing() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..5);
    for _ in 0..2 {
        for (first, count) in [(0, 3), (0, 1), (1, 1), (1, 2), (2, 1), (3, 0)] {
            let mut found = vec![0.0; count];
            assert!(store.read(&text(4), first, &mut found).unwrap());
            assert_eq!(found, row(4)[first..first + count]);
        }
        store.flush().unwrap();
    }
}

#[test]
fn slices_beyond_the_row_and_rows_of_another_width_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..1);
    for (first, count) in [(0, 4), (3, 1), (usize::MAX, 2)] {
        assert_eq!(store.read(&text(0), first, &mut vec![0.0; count]).unwrap_err().kind(), Kind::Usage);
    }
    assert_eq!(store.append(text(1), &[1.0; 2]).unwrap_err().kind(), Kind::Usage);
    assert!(!store.contains(&text(1)));
    assert_eq!(Store::open(root.path(), &key("b"), 0).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn few_files_stay_open_however_many_parts_there_are() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    for number in 0..60 {
        fill(&mut store, [number]);
        store.flush().unwrap();
    }
    assert_rows(&store, 0..60);
    assert_rows(&store, 0..60);
    let parts = store.path().join("parts");
    let held = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(&parts))
        .count();
    assert_eq!(held, reading::MAX_OPEN_FILES);
}

#[test]
fn a_store_that_is_dropped_writes_what_waits() {
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    assert_rows(&open(root.path()), 0..3);
}

// ---- keys

#[test]
fn different_keys_do_not_meet() {
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    assert_eq!(Store::open(root.path(), &key("b"), WIDTH).unwrap().len(), 0);
    assert_eq!(key("a").fingerprint(), key("a").fingerprint());
    assert_ne!(key("a").fingerprint(), key("b").fingerprint());
    assert_ne!(key("a").fingerprint(), StoreKey::default().fingerprint());
}

#[test]
fn the_key_file_can_be_read_by_a_person() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let text = std::fs::read_to_string(store.path().join("key.json")).unwrap();
    assert!(text.contains("\"weights\": \"a\"") && text.contains("\"width\": 3"), "{text}");
    assert_eq!(store.path().file_name().unwrap().to_str().unwrap(), key("a").fingerprint().to_string());
}

#[test]
fn the_bytes_of_the_files_do_not_change() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    store.flush().unwrap();
    let folder =
        root.path().join("features/6f47aa2ba0f3ccc4d4f1091ee3785aee53704b918d31397aa9aaed712b54f6f2");
    let hash = |name: &str| Fingerprint::of_file(folder.join(name)).unwrap().short();
    assert_eq!(hash("key.json"), "1d1cc6069239");
    assert_eq!(hash("parts/05be8e6245040ca8ea9a6c89b37fec12.part"), "e45bbeb83e02");
    assert_eq!(everything(root.path()).len(), 3, "these two, and the lock");
}

/// What a damaged file of the store's folder does to it.
#[track_caller]
fn set_aside_and_made_again(name: &str, damage: impl FnOnce(&Path)) {
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    let folder = open(root.path()).path().to_path_buf();
    let path = folder.join(name);
    let good = std::fs::read(&path).unwrap();
    damage(&path);
    let bad = std::fs::read(&path).ok();
    assert_ne!(bad.as_ref(), Some(&good));
    let said = |report: &PartReport| report.path == path && report.reason.is_some();
    assert!(verify(root.path()).unwrap().iter().any(said), "verify calls it sound: {bad:?}");
    assert_eq!(list(root.path()).unwrap().len(), 1);

    let mut store = open(root.path());
    let reported: Vec<_> = store.damaged().iter().map(|damage| damage.path.clone()).collect();
    assert_eq!(reported.len(), 1, "{:?}", store.damaged());
    assert!(reported[0].to_str().unwrap().ends_with(&format!("{name}.damaged")), "{reported:?}");
    assert_eq!(std::fs::read(&reported[0]).ok(), bad, "it is kept as it was");
    fill(&mut store, 0..3);
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), good, "it is the same again");
    assert_rows(&open(root.path()), 0..3);
    assert!(open(root.path()).damaged().is_empty(), "it is reported once");

    let options = PruneOptions { damaged: true, ..PruneOptions::default() };
    assert_eq!(pruned(root.path(), &options), reported);
    assert!(!reported[0].exists());
    assert!(verify(root.path()).unwrap().iter().all(|report| report.reason.is_none()));
    assert_rows(&open(root.path()), 0..3);
}

fn with_text(change: impl FnOnce(String) -> String) -> impl FnOnce(&Path) {
    move |path| std::fs::write(path, change(std::fs::read_to_string(path).unwrap())).unwrap()
}

fn with_directory(path: &Path) {
    std::fs::remove_file(path).unwrap();
    std::fs::create_dir(path).unwrap();
}

#[test]
fn a_damaged_key_file_is_set_aside_and_written_again_whatever_is_wrong_with_it() {
    let other = key("b").fingerprint().to_string();
    set_aside_and_made_again("key.json", with_text(|text| text[..20].to_owned()));
    set_aside_and_made_again("key.json", with_text(|_| String::new()));
    set_aside_and_made_again("key.json", with_text(|_| "[1, 2]".to_owned()));
    set_aside_and_made_again("key.json", with_text(|_| "{\"weights\": \"a\"}".to_owned()));
    set_aside_and_made_again("key.json", with_text(|text| text.replace("\"a\"", "\"changed\"")));
    set_aside_and_made_again("key.json", with_text(|text| text.replace("weights", "weight")));
    set_aside_and_made_again("key.json", with_text(|text| text.replace("\"format\": 1", "\"format\": 2")));
    set_aside_and_made_again("key.json", with_text(|text| text.replace("\"width\": 3", "\"width\": 4")));
    set_aside_and_made_again("key.json", with_text(|text| text.replace("\"width\": 3", "\"width\": -3")));
    set_aside_and_made_again(
        "key.json",
        with_text(move |text| text.replace(&key("a").fingerprint().to_string(), &other)),
    );
    set_aside_and_made_again("key.json", |path| {
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Store::open(elsewhere.path(), &key("b"), WIDTH).unwrap().path().join("key.json");
        std::fs::copy(other, path).unwrap();
    });
    set_aside_and_made_again("key.json", |path| std::fs::write(path, [0xff, 0xfe, 0, 1, 2, 0x80]).unwrap());
    set_aside_and_made_again("key.json", with_directory);
}

#[test]
fn a_directory_in_place_of_the_lock_or_of_a_part_makes_way() {
    set_aside_and_made_again("lock", with_directory);
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    let part = parts(open(root.path()).path(), ".part").remove(0);
    let name = format!("parts/{}", part.file_name().unwrap().to_str().unwrap());
    set_aside_and_made_again(&name, with_directory);
}

#[test]
fn a_file_in_place_of_a_directory_makes_way() {
    for name in ["parts", ""] {
        let root = tempfile::tempdir().unwrap();
        fill(&mut open(root.path()), 0..3);
        let place = open(root.path()).path().join(name);
        let place = PathBuf::from(place.to_str().unwrap().trim_end_matches('/'));
        std::fs::remove_dir_all(&place).unwrap();
        std::fs::write(&place, "a file").unwrap();
        let mut store = open(root.path());
        assert_eq!((store.damaged().len(), store.len()), (1, 0), "{:?}", store.damaged());
        fill(&mut store, 0..3);
        drop(store);
        assert_rows(&open(root.path()), 0..3);
        let options = PruneOptions { damaged: true, ..PruneOptions::default() };
        assert_eq!(pruned(root.path(), &options).len(), 1);
        assert!(verify(root.path()).unwrap().iter().all(|report| report.reason.is_none()));
    }
}

#[test]
fn every_flipped_byte_of_a_key_file_that_says_whose_it_is_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let name = "tiny".to_owned();
    let owner = Owner { name, path: "/models/tiny".into(), fingerprint: Fingerprint([7; 32]) };
    let owned = StoreKey { owner: Some(owner.clone()), ..key("a") };
    assert_eq!(owned.fingerprint(), key("a").fingerprint(), "it is no part of the key");
    let path = Store::open(root.path(), &owned, WIDTH).unwrap().path().join("key.json");
    assert_eq!(list(root.path()).unwrap()[0].backbone, Some(owner.clone()));
    // Who does not say whose it is leaves that as it is.
    drop(open(root.path()));
    let good = std::fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bytes = good.clone();
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let entry = list(root.path()).unwrap().remove(0);
        // A space that became an exclamation mark is no JSON any more.
        assert!(entry.trouble.is_some(), "byte {place}: {}", String::from_utf8_lossy(&bytes));
    }
    std::fs::write(&path, good).unwrap();
    // Another place of the same backbone: the last one is told.
    let moved = Owner { path: "/elsewhere/tiny".into(), ..owner };
    drop(Store::open(root.path(), &StoreKey { owner: Some(moved.clone()), ..key("a") }, WIDTH).unwrap());
    let entry = list(root.path()).unwrap().remove(0);
    assert_eq!((entry.backbone, entry.trouble), (Some(moved), None));
}

#[test]
fn a_missing_key_file_is_written_again() {
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    let path = open(root.path()).path().join("key.json");
    std::fs::remove_file(&path).unwrap();
    let reports = verify(root.path()).unwrap();
    assert!(reports.iter().any(|report| report.path == path && report.reason.is_some()));
    assert_rows(&open(root.path()), 0..3);
    assert!(path.exists());
}

#[test]
fn a_root_that_cannot_be_a_directory_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::open(file.path(), &key("a"), WIDTH).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
}

// ---- damage

#[test]
fn a_damaged_part_is_set_aside_reported_once_and_its_rows_are_computed_again() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..512);
    let first = parts(store.path(), ".part").remove(0);
    fill(&mut store, 512..600);
    drop(store);
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[5_000] ^= 4;
    std::fs::write(&first, &bytes).unwrap();

    let mut store = open(root.path());
    let aside = PathBuf::from(format!("{}.damaged", first.display()));
    let [damage] = store.damaged() else { panic!("{:?}", store.damaged()) };
    assert_eq!(damage.path, aside);
    assert!(damage.to_string().ends_with("the checksum does not fit the contents"), "{damage}");
    assert_eq!(std::fs::read(&aside).unwrap(), bytes);
    assert!(!first.exists());
    assert_eq!(store.len(), 88);
    assert!(!store.contains(&text(0)) && store.contains(&text(512)));
    fill(&mut store, 0..512);
    drop(store);
    let store = open(root.path());
    assert!(store.damaged().is_empty());
    assert_rows(&store, 0..600);
}

#[test]
fn a_part_of_a_newer_version_is_reported_and_left_in_place() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    store.flush().unwrap();
    let path = parts(store.path(), ".part").remove(0);
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    std::fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let store = open(root.path());
        assert_eq!(store.len(), 0);
        assert_eq!(store.damaged()[0].path, path);
        assert!(store.damaged()[0].reason.contains("version is 9"));
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_part_that_vanishes_while_the_store_is_open_is_an_error_and_not_a_wrong_row() {
    let root = tempfile::tempdir().unwrap();
    fill(&mut open(root.path()), 0..3);
    let store = open(root.path());
    std::fs::remove_file(&parts(store.path(), ".part")[0]).unwrap();
    let error = store.read(&text(0), 0, &mut [0.0]).unwrap_err();
    assert!(error.remedy().unwrap().contains("run again"));
}

#[test]
fn files_of_others_among_the_parts_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    let foreign = ["notes.txt", "x.part", "00.part.damaged", ".new-file"].map(|name| {
        let path = store.path().join("parts").join(name);
        std::fs::write(&path, "mine").unwrap();
        path
    });
    drop(store);
    let store = open(root.path());
    assert!(store.damaged().is_empty());
    assert_rows(&store, 0..3);
    drop(store);
    prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    for path in foreign {
        assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    }
    assert!(list(root.path()).unwrap().is_empty());
}

// ---- leftovers and many small parts

#[test]
fn leftovers_are_removed_only_when_nobody_has_the_store_open() {
    let root = tempfile::tempdir().unwrap();
    let first = open(root.path());
    let leftover = first.path().join("parts/.new-abcdef.tmp");
    std::fs::write(&leftover, "half a part").unwrap();
    drop(open(root.path()));
    assert!(leftover.exists(), "it may belong to the process that has the store open");
    drop(first);
    drop(open(root.path()));
    assert!(!leftover.exists());
}

#[test]
fn many_small_parts_are_merged_when_nobody_has_the_store_open() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..512);
    for number in 512..512 + compact::MAX_SMALL_PARTS + 1 {
        fill(&mut store, [number]);
        store.flush().unwrap();
    }
    let rows = 512 + compact::MAX_SMALL_PARTS + 1;
    let before = parts(store.path(), ".part").len();
    assert_eq!(before, compact::MAX_SMALL_PARTS + 2);
    assert_rows(&open(root.path()), 0..rows);
    assert_eq!(parts(store.path(), ".part").len(), before, "the first store still reads the small parts");
    drop(store);
    let store = open(root.path());
    assert_rows(&store, 0..rows);
    assert_eq!(parts(store.path(), "").len(), 2);
    assert!(verify(root.path()).unwrap().iter().all(|report| report.reason.is_none()));
}

#[test]
fn merging_takes_no_row_from_a_damaged_part() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    for number in 0..compact::MAX_SMALL_PARTS + 5 {
        fill(&mut store, [number]);
        store.flush().unwrap();
    }
    let path = parts(store.path(), ".part").remove(3);
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let lost = TextKey(bytes[56..72].try_into().unwrap());
    bytes[75] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = open(root.path());
    assert_eq!(store.damaged().len(), 1);
    assert_eq!(store.len(), compact::MAX_SMALL_PARTS + 4);
    assert!(!store.contains(&lost));
    assert_eq!(parts(store.path(), ".part").len(), 1);
}

#[test]
fn merging_small_parts_that_hold_the_same_rows_loses_none() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    store.flush().unwrap();
    // As if other processes had computed the same texts: each row once more, in a part of its own.
    for number in (0..3).cycle().take(3) {
        store.open.folder.write(&store.identity, &[(text(number), bytes_of(&row(number)))]).unwrap();
    }
    for number in 3..compact::MAX_SMALL_PARTS + 5 {
        fill(&mut store, [number]);
        store.flush().unwrap();
    }
    drop(store);
    assert_rows(&open(root.path()), 0..compact::MAX_SMALL_PARTS + 5);
    assert_eq!(list(root.path()).unwrap()[0].rows as usize, compact::MAX_SMALL_PARTS + 5);
}

// ---- several processes

const CHILD: &str = "FROSTHEAD_STORE_TEST_CHILD";

/// The root given to a child process; none in the parent.
fn child_root() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This test binary, running only `test`, as a child that finds `root` in its environment. Signals of file
/// size limits are ignored there, so that a write fails instead of killing.
fn child(test: &str, root: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("store::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, root)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a child to its end; it must have run its test.
fn finish(child: std::process::Child) -> (ExitStatus, String) {
    let output = child.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("running 1 test"), "{said}");
    (output.status, said)
}

#[test]
fn processes_that_compute_the_same_texts_all_finish_and_the_union_is_right() {
    const ROWS: usize = 2_000;
    if let Some(root) = child_root() {
        let start = std::env::var("FROSTHEAD_STORE_TEST_START").unwrap().parse::<usize>().unwrap();
        let mut store = open(&root);
        for number in (0..ROWS).map(|number| (number + start) % ROWS) {
            fill(&mut store, [number]);
            if number % 97 == 0 {
                store.flush().unwrap();
            }
        }
        assert_rows(&store, 0..ROWS);
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let name = "processes_that_compute_the_same_texts_all_finish_and_the_union_is_right";
    // Two of the three do exactly the same, so they race for the same names.
    let children = [0, 0, 1_000].map(|start: usize| {
        child(name, root.path()).env("FROSTHEAD_STORE_TEST_START", start.to_string()).spawn().unwrap()
    });
    for child in children {
        let (status, said) = finish(child);
        assert!(status.success(), "{said}");
    }
    let store = open(root.path());
    assert!(store.damaged().is_empty());
    assert_rows(&store, 0..ROWS);
    assert!(parts(store.path(), ".tmp").is_empty());
}

#[test]
fn threads_that_open_append_and_prune_at_the_same_time_never_see_a_wrong_row() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for start in [0, 50, 100] {
            let root = root.path();
            scope.spawn(move || {
                for _ in 0..10 {
                    let mut store = open(root);
                    fill(&mut store, start..start + 100);
                    store.flush().unwrap();
                    for number in start..start + 100 {
                        let mut found = [0.0; WIDTH];
                        assert!(store.read(&text(number), 0, &mut found).unwrap());
                        assert_eq!(found, row(number));
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..10 {
                let pruned = prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() });
                if let Err(error) = pruned {
                    assert_eq!(error.kind(), Kind::Store, "{error}");
                }
            }
        });
    });
    let mut store = open(root.path());
    assert!(store.damaged().is_empty());
    fill(&mut store, 0..200);
    assert_rows(&store, 0..200);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_of_space_and_keeps_what_was_stored() {
    let name = "a_limit_on_file_sizes_is_an_error_of_space_and_keeps_what_was_stored";
    if let Some(root) = child_root() {
        let mut store = open(&root);
        fill(&mut store, 0..512);
        assert_eq!(parts(store.path(), ".part").len(), 1);
        // Less than the next part needs (512 rows of 28 bytes), so that its write fails half-way.
        let limit = rustix::process::Rlimit { current: Some(10_000), maximum: Some(10_000) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        fill(&mut store, 512..1_023);
        let error = store.append(text(1_023), &row(1_023)).unwrap_err();
        assert_eq!(error.kind(), Kind::Space, "{error}");
        assert!(error.remedy().unwrap().contains("kept"));
        assert_eq!(parts(store.path(), "").len(), 1, "the temporary file is gone");
        assert_rows(&store, 0..1_024);
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (status, said) = finish(child(name, root.path()).spawn().unwrap());
    assert!(status.success() && said.contains("1 passed"), "{said}");
    assert_rows(&open(root.path()), 0..512);
}

#[test]
fn rows_that_could_not_be_written_are_written_later() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..10);
    let (folder, away) = (store.path().join("parts"), store.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    assert_eq!(store.flush().unwrap_err().kind(), Kind::Io);
    for number in 10..700 {
        let appended = store.append(text(number), &row(number));
        assert_eq!(appended.is_err(), number >= 511, "row {number}");
    }
    assert_rows(&store, 0..700);
    std::fs::rename(&away, &folder).unwrap();
    store.flush().unwrap();
    assert_rows(&store, 0..700);
    drop(store);
    assert_rows(&open(root.path()), 0..700);
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_process_killed_at_any_point_leaves_a_store_that_goes_on() {
    let name = "a_process_killed_at_any_point_leaves_a_store_that_goes_on";
    if let Some(root) = child_root() {
        let mut store = open(&root);
        fill(&mut store, 0..2_000);
        panic!("the child outlived its kill");
    }
    for (point, written) in [
        ("file-before-write", 512),
        ("file-half-written", 512),
        ("file-before-rename", 512),
        ("file-after-rename", 1_024),
    ] {
        let root = tempfile::tempdir().unwrap();
        // The description of the key is the first file.
        let kill = format!("{point}:3");
        let (status, said) =
            finish(child(name, root.path()).env("FROSTHEAD_KILL_AT", &kill).spawn().unwrap());
        assert_eq!(status.signal(), Some(9), "{kill}: {said}");
        let folder = list(root.path()).unwrap().remove(0).path;
        let leftovers = usize::from(["file-half-written", "file-before-rename"].contains(&point));
        assert_eq!(parts(&folder, ".tmp").len(), leftovers, "{kill}");
        let mut store = open(root.path());
        assert!(parts(&folder, ".tmp").is_empty());
        assert!(store.damaged().is_empty(), "{kill}");
        assert_rows(&store, 0..written);
        fill(&mut store, 0..2_000);
        drop(store);
        assert_rows(&open(root.path()), 0..2_000);
    }
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_process_killed_while_it_merges_loses_no_row() {
    let name = "a_process_killed_while_it_merges_loses_no_row";
    if let Some(root) = child_root() {
        open(&root);
        panic!("the child outlived its kill");
    }
    let rows = compact::MAX_SMALL_PARTS + 1;
    for point in ["file-before-write", "file-half-written", "file-before-rename", "file-after-rename"] {
        let root = tempfile::tempdir().unwrap();
        let mut store = open(root.path());
        for number in 0..rows {
            fill(&mut store, [number]);
            store.flush().unwrap();
        }
        drop(store);
        let kill = format!("{point}:1");
        let (status, said) =
            finish(child(name, root.path()).env("FROSTHEAD_KILL_AT", &kill).spawn().unwrap());
        assert_eq!(status.signal(), Some(9), "{kill}: {said}");
        let store = open(root.path());
        assert!(store.damaged().is_empty());
        assert_rows(&store, 0..rows);
        assert_eq!(parts(store.path(), "").len(), 1, "{kill}");
    }
}

#[test]
fn a_process_killed_while_it_holds_the_store_does_not_lock_it() {
    let name = "a_process_killed_while_it_holds_the_store_does_not_lock_it";
    if let Some(root) = child_root() {
        let mut store = open(&root);
        fill(&mut store, 0..512);
        let this_process = rustix::process::getpid();
        rustix::process::kill_process(this_process, rustix::process::Signal::KILL).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let (status, said) = finish(child(name, root.path()).spawn().unwrap());
    assert_eq!(status.signal(), Some(9), "{said}");
    assert_rows(&open(root.path()), 0..512);
    let removed = prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert_eq!(removed.len(), 1);
}

// ---- list, verify, prune

/// Three stores, opened one, two and three hours ago: `old`, `middle`, `new` with 30, 20 and 10 rows.
fn three_stores(root: &Path) -> [PathBuf; 3] {
    [("old", 30, 3), ("middle", 20, 2), ("new", 10, 1)].map(|(name, rows, hours)| {
        let mut store = Store::open(root, &key(name), WIDTH).unwrap();
        fill(&mut store, 0..rows);
        let path = store.path().to_path_buf();
        drop(store);
        set_last_used(&path, Duration::from_secs(hours * 3_600));
        path
    })
}

fn pruned(root: &Path, options: &PruneOptions) -> Vec<PathBuf> {
    prune(root, options).unwrap().into_iter().map(|removed| removed.path).collect()
}

#[test]
fn list_shows_what_is_there() {
    let root = tempfile::tempdir().unwrap();
    assert!(list(root.path()).unwrap().is_empty());
    assert!(list(&root.path().join("missing")).unwrap().is_empty());
    let [old, ..] = three_stores(root.path());
    let entries = list(root.path()).unwrap();
    assert_eq!(entries.len(), 3);
    let entry = entries.iter().find(|entry| entry.path == old).unwrap();
    assert_eq!(entry.fingerprint, key("old").fingerprint());
    assert_eq!(entry.fields, key("old").fields);
    assert_eq!((entry.width, entry.rows, entry.parts, entry.damaged), (WIDTH, 30, 1, 0));
    assert_eq!(entry.bytes, everything(&old).values().map(|bytes| bytes.len() as u64).sum::<u64>());
    let age = entry.last_used.elapsed().unwrap();
    assert!((10_700..10_900).contains(&age.as_secs()), "{age:?}");
}

#[test]
fn opening_a_store_makes_it_the_one_used_last() {
    let root = tempfile::tempdir().unwrap();
    let [old, ..] = three_stores(root.path());
    drop(Store::open(root.path(), &key("old"), WIDTH).unwrap());
    let newest = list(root.path()).unwrap().into_iter().max_by_key(|entry| entry.last_used).unwrap();
    assert_eq!(newest.path, old);
}

#[test]
fn prune_by_age_removes_what_was_used_longer_ago() {
    let root = tempfile::tempdir().unwrap();
    let [old, middle, new] = three_stores(root.path());
    let older_than = Some(Duration::from_secs(5_400));
    let options = PruneOptions { older_than, ..PruneOptions::default() };
    assert_eq!(pruned(root.path(), &options), [old.clone(), middle.clone()]);
    assert!(!old.exists() && !middle.exists() && new.exists());
    assert_eq!(Store::open(root.path(), &key("new"), WIDTH).unwrap().len(), 10);
}

#[test]
fn prune_by_size_removes_the_least_recently_used_first() {
    let root = tempfile::tempdir().unwrap();
    let [old, middle, new] = three_stores(root.path());
    let size = |path: &PathBuf| everything(path).values().map(|bytes| bytes.len() as u64).sum::<u64>();
    let (two, one) = (size(&middle) + size(&new), size(&new));
    let largest = |max_bytes| PruneOptions { max_bytes: Some(max_bytes), ..PruneOptions::default() };
    assert!(pruned(root.path(), &largest(two + size(&old))).is_empty());
    let removed = prune(root.path(), &largest(two)).unwrap();
    assert_eq!(removed, [Removed { path: old, bytes: removed[0].bytes }]);
    assert_eq!(pruned(root.path(), &largest(one)), [middle]);
    assert_eq!(pruned(root.path(), &largest(0)), [new]);
}

#[test]
fn prune_reports_the_bytes_it_frees() {
    let root = tempfile::tempdir().unwrap();
    three_stores(root.path());
    let before = everything(root.path()).values().map(|bytes| bytes.len() as u64).sum::<u64>();
    let removed = prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert_eq!(removed.iter().map(|removed| removed.bytes).sum::<u64>(), before);
    assert!(everything(root.path()).is_empty());
}

#[test]
fn prune_of_nothing_in_particular_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let error = prune(root.path(), &PruneOptions::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
}

#[test]
fn prune_of_damage_removes_only_damage_and_leftovers() {
    let root = tempfile::tempdir().unwrap();
    let [old, ..] = three_stores(root.path());
    let part = parts(&old, ".part").remove(0);
    std::fs::write(&part, "rubbish").unwrap();
    assert_eq!(Store::open(root.path(), &key("old"), WIDTH).unwrap().damaged().len(), 1);
    std::fs::write(old.join("parts/.new-abcdef.tmp"), "half").unwrap();
    let before = everything(root.path()).len();
    let options = PruneOptions { damaged: true, ..PruneOptions::default() };
    let removed = prune(root.path(), &options).unwrap();
    assert_eq!(removed.iter().map(|removed| removed.bytes).collect::<BTreeSet<_>>(), BTreeSet::from([4, 7]));
    assert_eq!(everything(root.path()).len(), before - 2);
    assert!(prune(root.path(), &options).unwrap().is_empty());
}

#[test]
fn prune_of_a_store_in_use_is_an_error_and_removes_nothing() {
    let root = tempfile::tempdir().unwrap();
    three_stores(root.path());
    let in_use = Store::open(root.path(), &key("new"), WIDTH).unwrap();
    let before = everything(root.path());
    let start = Instant::now();
    let error = prune(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), Kind::Store);
    assert!(error.to_string().contains("in use"), "{error}");
    assert_eq!(everything(root.path()), before);
    drop(in_use);
    assert_eq!(pruned(root.path(), &PruneOptions { all: true, ..PruneOptions::default() }).len(), 3);
}

#[test]
fn prune_never_removes_from_a_directory_that_is_not_ours() {
    let root = tempfile::tempdir().unwrap();
    let hexadecimal = "ab".repeat(32);
    let elsewhere = tempfile::tempdir().unwrap();
    let store = open(elsewhere.path()).path().to_path_buf();
    for path in [
        "notes.txt".to_owned(),
        "features/readme".to_owned(),
        "features/mine/key.json".to_owned(),
        // Named like ours, but described as nothing, as something else, or as rubbish.
        format!("features/{hexadecimal}/parts/{}.part", "ab".repeat(16)),
        format!("features/{}/key.json", "cd".repeat(32)),
        format!("features/{}/parts/{}.part", "ef".repeat(32), "ab".repeat(16)),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "mine").unwrap();
    }
    std::fs::copy(store.join("key.json"), root.path().join(format!("features/{}/key.json", "ef".repeat(32))))
        .unwrap();
    // A link to a real store elsewhere is not followed.
    let linked = root.path().join("features").join(store.file_name().unwrap());
    std::os::unix::fs::symlink(&store, &linked).unwrap();
    let before = everything(root.path());
    let options =
        PruneOptions { all: true, damaged: true, older_than: Some(Duration::ZERO), max_bytes: Some(0) };
    assert!(prune(root.path(), &options).unwrap().is_empty());
    assert_eq!(everything(root.path()), before);
    assert!(list(root.path()).unwrap().is_empty());
}

#[test]
fn verify_reports_every_part_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    assert!(verify(root.path()).unwrap().is_empty());
    let [old, middle, new] = three_stores(root.path());
    let bad = parts(&old, ".part").remove(0);
    let mut bytes = std::fs::read(&bad).unwrap();
    bytes.pop();
    std::fs::write(&bad, bytes).unwrap();
    std::fs::write(new.join("key.json"), "{").unwrap();
    let before = everything(root.path());
    let modified = middle.join("lock").metadata().unwrap().modified().unwrap();

    let reports = verify(root.path()).unwrap();
    assert_eq!(everything(root.path()), before);
    assert_eq!(middle.join("lock").metadata().unwrap().modified().unwrap(), modified);
    assert_eq!(reports.len(), 4, "three parts and a key");
    let report = |path: &Path| reports.iter().find(|report| report.path == path).unwrap();
    assert!(report(&bad).reason.as_ref().unwrap().contains("cut short"));
    let good = report(&parts(&middle, ".part")[0]);
    assert_eq!((good.rows, &good.reason), (20, &None));
    assert_eq!(good.bytes, good.path.metadata().unwrap().len());
    assert!(report(&new.join("key.json")).reason.as_ref().unwrap().contains("damaged"));

    drop(Store::open(root.path(), &key("old"), WIDTH).unwrap());
    let reports = verify(root.path()).unwrap();
    assert!(reports.iter().any(|report| report.path.to_str().unwrap().ends_with(".part.damaged")));
}

#[test]
fn space_needed_covers_what_a_store_really_takes() {
    let root = tempfile::tempdir().unwrap();
    for (name, rows, width) in [("one", 1, 3), ("some", 1_500, 384), ("wide", 700, 3_072)] {
        let mut store = Store::open(root.path(), &key(name), width).unwrap();
        for number in 0..rows {
            store.append(text(number), &vec![1.0; width]).unwrap();
        }
        store.flush().unwrap();
        let taken = everything(store.path())
            .values()
            .map(|bytes| (bytes.len() as u64).next_multiple_of(4_096))
            .sum::<u64>();
        let needed = space_needed(rows as u64, width);
        assert!(taken <= needed, "{name}: {taken} taken, {needed} said to be needed");
        assert!(needed <= taken * 11 / 10 + (1 << 17), "{name}: {taken} taken, {needed} said to be needed");
    }
}

// ---- compacting

#[test]
fn what_two_processes_stored_twice_is_made_one() {
    let root = tempfile::tempdir().unwrap();
    // Both open the store before the other writes: neither sees the other's rows.
    let (mut one, mut other) = (open(root.path()), open(root.path()));
    fill(&mut one, 0..600);
    fill(&mut other, 300..900);
    drop((one, other));
    let rows = || list(root.path()).unwrap()[0].rows;
    assert_eq!(rows(), 1_200);
    let done = compact(root.path()).unwrap().remove(0);
    assert_eq!((done.doubled, rows()), (300, 900));
    assert!(done.bytes < done.bytes_before && done.parts <= done.parts_before, "{done:?}");
    assert_rows(&open(root.path()), 0..900);
    // There is nothing left to do.
    let before = everything(root.path());
    let again = compact(root.path()).unwrap().remove(0);
    assert_eq!((again.doubled, again.parts), (0, done.parts));
    assert_eq!(everything(root.path()), before);
}

#[test]
fn compacting_loses_no_row_however_parts_overlap() {
    let ranges: [&[std::ops::Range<usize>]; 5] = [
        &[0..512, 0..512, 0..10],
        &[0..10, 0..512, 5..6],
        &[0..3, 3..6, 0..6],
        &[0..6, 0..3, 3..6],
        &[0..512, 256..700, 600..1_000, 0..1_000],
    ];
    for ranges in ranges {
        let root = tempfile::tempdir().unwrap();
        let mut stores: Vec<Store> = ranges.iter().map(|_| open(root.path())).collect();
        stores.iter_mut().zip(ranges).for_each(|(store, range)| fill(store, range.clone()));
        drop(stores);
        let all = ranges.iter().map(|range| range.end).max().unwrap();
        let parts_before = list(root.path()).unwrap()[0].parts;
        compact(root.path()).unwrap();
        let entry = list(root.path()).unwrap().remove(0);
        assert_eq!(entry.rows, all as u64, "{ranges:?} in {parts_before} parts");
        assert_rows(&open(root.path()), 0..all);
    }
}

#[test]
fn compacting_a_store_in_use_is_an_error_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut store = open(root.path());
    fill(&mut store, 0..3);
    store.flush().unwrap();
    let before = everything(root.path());
    assert!(compact(root.path()).unwrap_err().to_string().contains("in use"));
    assert_eq!(everything(root.path()), before);
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_process_killed_while_it_compacts_loses_no_row() {
    if let Some(root) = child_root() {
        compact(&root).unwrap();
        return;
    }
    for point in ["file-before-write", "file-half-written", "file-before-rename", "file-after-rename"] {
        let root = tempfile::tempdir().unwrap();
        let (mut one, mut other) = (open(root.path()), open(root.path()));
        fill(&mut one, 0..20);
        fill(&mut other, 10..30);
        drop((one, other));
        let name = "a_process_killed_while_it_compacts_loses_no_row";
        let mut child = child(name, root.path());
        child.env("FROSTHEAD_KILL_AT", format!("{point}:1"));
        let (status, said) = finish(child.spawn().unwrap());
        assert_eq!(status.signal(), Some(9), "{point}: {said}");
        assert_eq!(compact(root.path()).unwrap()[0].parts, 1);
        assert_eq!(list(root.path()).unwrap()[0].rows, 30);
        assert_rows(&open(root.path()), 0..30);
    }
}
