//! Owns where tunings are kept: one JSON file for each network, processor, number of cores, device and
//! library version.
//!
//! Refuses to use a file that is damaged, of another format, of something else than its name says, or out of
//! range.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::gain::Gain;
use super::{Key, Setting};
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::store::user_folder;

/// The version of the files this program writes, and the only one it reads.
const FORMAT: u32 = 2;
/// A file has some hundred bytes; one with more than this is something else.
const MOST_BYTES: usize = 1 << 16;
/// Tokens in a batch that any machine may be tuned to, at most.
const MOST_TOKENS: usize = 1 << 20;

/// What was found about a network on a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    format: u32,
    /// Of what.
    pub key: Key,
    /// What people call the network.
    pub model: String,
    pub setting: Setting,
    /// Against the default; none where that was kept, as nothing was faster beyond noise.
    pub gain: Option<Gain>,
    /// Of the setting, on the texts it was tuned with.
    pub texts_per_second: f64,
    /// Whether these were the user's, and not made up.
    pub own_texts: bool,
    /// When, in seconds since 1970.
    pub tuned: u64,
}

impl Kept {
    /// Something to keep, found now.
    #[must_use]
    pub fn new(key: Key, model: &str, setting: Setting, gain: Option<Gain>) -> Self {
        let (model, tuned) = (model.to_owned(), now());
        Self { format: FORMAT, key, model, setting, gain, texts_per_second: 0.0, own_texts: false, tuned }
    }

    /// The same with what it was found on.
    #[must_use]
    pub fn on(self, own_texts: bool, texts_per_second: f64) -> Self {
        Self { own_texts, texts_per_second, ..self }
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Where tunings are kept: `tuning` in `$FROSTHEAD_CONFIG`, else in `$XDG_CONFIG_HOME/frosthead`, else in
/// `$HOME/.config/frosthead`; none if none of them is set.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    user_folder("FROSTHEAD_CONFIG", "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("tuning"))
}

/// The file of a key: the network first, so that its other files are found.
#[must_use]
pub fn file_of(folder: &Path, key: &Key) -> PathBuf {
    folder.join(format!("{}-{}.json", key.network.short(), key.fingerprint().short()))
}

/// Keeps a tuning in the place of an older one; says where.
///
/// # Errors
/// The file cannot be written.
pub fn keep(folder: &Path, kept: &Kept) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|source| Error::io("make the directory", folder, source))?;
    let path = file_of(folder, &kept.key);
    files::write(&path, document::pretty(kept).as_bytes())?;
    Ok(path)
}

/// What is kept for a key, if anything.
///
/// # Errors
/// There is a file, and it cannot be used.
pub fn kept(folder: &Path, key: &Key) -> Result<Option<Kept>> {
    let path = file_of(folder, key);
    let Some(kept) = read(&path)? else { return Ok(None) };
    if kept.key == *key {
        return Ok(Some(kept));
    }
    let differences = match kept.key.network == key.network {
        true => key.differences(&kept.key),
        false => "another network".to_owned(),
    };
    Err(unusable("the tuning is of something else than its name says", &path).found(differences))
}

/// What is kept for the same network under other keys, as far as it can be read.
#[must_use]
pub fn kept_elsewhere(folder: &Path, key: &Key) -> Vec<Kept> {
    let prefix = format!("{}-", key.network.short());
    let ours = file_of(folder, key);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&prefix) && name.ends_with(".json") && *path != ours
    };
    let read = paths.filter(named).filter_map(|path| read(&path).ok().flatten());
    let mut all: Vec<Kept> = read.filter(|kept| kept.key.network == key.network).collect();
    all.sort_by_key(|kept| std::cmp::Reverse(kept.tuned));
    all
}

/// Reads and checks a file, if it is there.
fn read(path: &Path) -> Result<Option<Kept>> {
    let bytes = match files::start_of(path, MOST_BYTES + 1) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read the tuning", path, error).help(remedy())),
    };
    if bytes.len() > MOST_BYTES {
        return Err(unusable("the tuning is too large to be one", path)
            .expected(format!("at most {MOST_BYTES} bytes")));
    }
    let what = "the tuning is damaged";
    let kept: Kept = document::versioned_json(&bytes, &(FORMAT..=FORMAT), Kind::Tuning, what)
        .map_err(|error| error.at(path).help(remedy()))?;
    check_range("threads", kept.setting.threads, kept.key.cores, path)?;
    check_range("tokens a batch", kept.setting.token_budget, MOST_TOKENS, path)?;
    Ok(Some(kept))
}

fn check_range(what: &str, found: usize, most: usize, path: &Path) -> Result<()> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(unusable("the tuning is out of range", path)
        .found(format!("{found} {what}"))
        .expected(format!("1 to {most}")))
}

fn unusable(what: &str, path: &Path) -> Error {
    Error::new(Kind::Tuning, what).at(path).help(remedy())
}

fn remedy() -> &'static str {
    "run `frosthead tune` again, or delete the file; until then the defaults are used"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::tokens::Spacing;

    fn key() -> Key {
        Key {
            processor: "a processor".into(),
            cores: 4,
            device: "cpu".into(),
            onnxruntime: "1.32.0".into(),
            network: Fingerprint::of_bytes(b"network"),
        }
    }

    fn example() -> Kept {
        let setting = Setting { threads: 3, token_budget: 2048, buckets: Spacing::Fine };
        let gain = Some(Gain { ratio: 1.25, standard_error: 0.01, pairs: 8 });
        Kept::new(key(), "minilm", setting, gain).on(true, 512.0)
    }

    #[test]
    fn what_was_kept_is_found_again_and_the_newest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("not/there/yet");
        assert_eq!(kept(&folder, &key()).unwrap(), None);
        assert!(kept_elsewhere(&folder, &key()).is_empty());
        let made = example();
        keep(&folder, &made).unwrap();
        let setting = Setting { threads: 1, ..made.setting };
        let newer = Kept { setting, gain: None, ..example() };
        assert_eq!(kept(&folder, &key()).unwrap(), Some(made));
        let path = keep(&folder, &newer).unwrap();
        assert_eq!(kept(&folder, &key()).unwrap(), Some(newer));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "{}", path.display());
    }

    #[test]
    fn other_keys_of_the_same_network_are_found_and_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        // Made once: the seconds of the clock are in it.
        let made = example();
        keep(folder, &made).unwrap();
        let elsewhere = |key: &Key| kept_elsewhere(folder, key);
        let newer = Key { onnxruntime: "1.33.0".into(), ..key() };
        assert_eq!(kept(folder, &newer).unwrap(), None);
        assert_eq!(elsewhere(&newer), [made]);
        assert!(elsewhere(&key()).is_empty(), "its own is not elsewhere");
        assert!(elsewhere(&Key { network: Fingerprint::of_bytes(b"int8"), ..key() }).is_empty());
    }

    /// What is said of a file with this in the place of that.
    #[track_caller]
    fn refused(that: &str, this: &str, part: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = keep(directory.path(), &example()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(that), "{text}");
        std::fs::write(&path, text.replacen(that, this, 1)).unwrap();
        let error = kept(directory.path(), &key()).unwrap_err();
        assert_eq!(error.kind(), Kind::Tuning);
        let told = error.to_string();
        assert!(told.contains(path.to_str().unwrap()) && told.contains(part), "{told}");
        assert!(error.remedy().unwrap().contains("frosthead tune"));
    }

    #[test]
    fn a_file_can_be_wrong_in_many_ways() {
        refused("{", "", "damaged");
        refused("\"format\": 2", "\"format\": 3", "found format 3, expected format 2");
        refused("\"format\": 2", "\"form\": 1", "damaged");
        refused("\"model\"", "\"models\"", "damaged");
        refused("\"fine\"", "\"finest\"", "damaged");
        refused("\"threads\": 3", "\"threads\": 0", "0 threads, expected 1 to 4");
        refused("\"threads\": 3", "\"threads\": 5", "5 threads, expected 1 to 4");
        refused("\"threads\": 3", "\"threads\": -1", "damaged");
        refused("\"token_budget\": 2048", "\"token_budget\": 0", "0 tokens a batch");
        refused("\"token_budget\": 2048", "\"token_budget\": 1048577", "expected 1 to 1048576");
        refused("a processor", "another one", "another one (here a processor)");
        refused("\"cores\": 4", "\"cores\": 8", "cores: 8 (here 4)");
        refused(&key().network.to_string(), &Fingerprint::of_bytes(b"x").to_string(), "another network");
        refused("\n}", &format!("\n}}{}", " ".repeat(70_000)), "too large");
    }
}
