//! Owns what a store of parts does while it is open, whatever its parts hold: it holds the lock, collects
//! texts until a part is due, and sets aside what cannot be used.
//!
//! Refuses to open a folder that is being pruned or merged, or that describes another key.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fault::{Fault, Identity};
use super::folder::{KeyFile, KeyFolder, Lock, Parts, Sharing, Text, unwritable};
use super::{Damage, StoreKey, compact};
use crate::error::Result;
use crate::fingerprint::TextKey;

/// How long opening waits for a process that is pruning or merging.
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// A part is written at the latest this long after its first text, if texts keep coming: what a killed
/// process loses is a few seconds of work.
pub(super) const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// Texts that are not written yet.
#[derive(Default)]
pub(super) struct Pending {
    pub texts: Vec<Text>,
    /// Bytes of all texts.
    pub bytes: usize,
    pub since: Option<Instant>,
}

impl Pending {
    /// Adds a text.
    pub fn add(&mut self, key: TextKey, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.texts.push((key, bytes));
    }

    /// Whether the texts have waited long enough.
    pub fn is_due(&mut self) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() >= FLUSH_AFTER
    }
}

/// The folder of one key, open for reading and appending; nobody prunes or merges meanwhile.
pub(super) struct OpenFolder {
    pub folder: KeyFolder,
    pub pending: Pending,
    pub damaged: Vec<Damage>,
    _lock: Lock,
}

impl OpenFolder {
    /// Opens the folder of `key` under `root`. When nobody else has it open, leftovers of killed processes
    /// are removed and many small parts merged first.
    ///
    /// # Errors
    /// The folder cannot be created or read, describes another key, or is being pruned for longer than 30 s.
    pub fn open(root: &Path, key: &StoreKey, identity: &Identity, parts: &impl Parts) -> Result<Self> {
        let folder = KeyFolder::new(root, &identity.fingerprint);
        if let Ok(exclusive) = folder.lock(Sharing::Exclusive, Duration::ZERO) {
            // Nothing here is needed to read or append, so a failure (a full disk) must not keep the store
            // from opening.
            let _optional = compact::maintain(&folder, parts);
            drop(exclusive);
        }
        let lock = folder.lock(Sharing::Shared, OPEN_WAIT)?;
        std::fs::create_dir_all(folder.parts())
            .map_err(|source| unwritable("create the directory", &folder.parts(), source))?;
        folder.settle_key(&KeyFile::new(identity, &key.fields))?;
        lock.mark_used();
        Ok(Self { folder, pending: Pending::default(), damaged: Vec::new(), _lock: lock })
    }

    /// Writes the first of the texts that wait, at most so many: the part, and how many they were. None when
    /// nothing waits.
    ///
    /// # Errors
    /// The part cannot be written ([`Kind::Space`] when the disk is full); the texts keep waiting.
    pub fn write_pending(&mut self, parts: &impl Parts, most: usize) -> Result<Option<(PathBuf, usize)>> {
        let count = self.pending.texts.len().min(most);
        if count == 0 {
            self.pending = Pending::default();
            return Ok(None);
        }
        let path = self.folder.write(parts, &self.pending.texts[..count])?;
        self.pending.bytes -= self.pending.texts.drain(..count).map(|(_, bytes)| bytes.len()).sum::<usize>();
        Ok(Some((path, count)))
    }

    /// Renames a damaged part, so that it is checked and reported once; one that may be good stays where it
    /// is, and one that is gone is no damage.
    ///
    /// Should another process have just replaced it by the good part of the same name, that part is lost to
    /// the next open (and computed again): nothing wrong can come of it.
    pub fn set_aside(&mut self, path: PathBuf, fault: &Fault) {
        if *fault == Fault::Vanished {
            return;
        }
        let mut aside = path.clone().into_os_string();
        aside.push(".damaged");
        let aside = PathBuf::from(aside);
        let renamed = matches!(fault, Fault::Damaged(_)) && std::fs::rename(&path, &aside).is_ok();
        let path = if renamed { aside } else { path };
        self.damaged.push(Damage { path, reason: fault.reason().to_owned() });
    }
}
