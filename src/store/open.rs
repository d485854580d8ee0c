//! Owns what a store of parts does while it is open, whatever its parts hold: it holds the lock, collects
//! texts until a part is due, and sets aside what cannot be used.
//!
//! Refuses to open a folder that is being pruned or merged, and to trust one for its name alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fault::{Fault, Identity};
use super::folder::{
    self, KeyFolder, Lock, Parts, Role, Sharing, Text, is_refusal, may_not_write, unwritable,
};
use super::key_file::{KeyFile, UNKNOWN};
use super::{Damage, StoreKey, compact};
use crate::error::{Error, Result};
use crate::files::Scratch;
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
///
/// Where nobody may write, what is stored is read, without a lock if there is none, and what is added lies in
/// a folder of this process that goes away with it.
pub(super) struct OpenFolder {
    pub folder: KeyFolder,
    pub pending: Pending,
    pub damaged: Vec<Damage>,
    /// Why nothing can be written to the folder, if nothing can.
    pub unwritable: Option<Error>,
    /// Whether `key.json` said of the parts that were there whose they are. Parts of features say so
    /// themselves, token states do not.
    pub vouched: bool,
    /// Whose processor computes what is added, until that is noted.
    processor: Option<String>,
    scratch: Option<Scratch>,
    _lock: Option<Lock>,
}

impl OpenFolder {
    /// Opens the folder of `key` under `root`. When nobody else has it open, leftovers of killed processes
    /// are removed and many small parts merged first. What is damaged is set aside.
    ///
    /// # Errors
    /// The folder cannot be created or read, or is being pruned for longer than 30 s.
    pub fn open(root: &Path, key: &StoreKey, identity: &Identity, parts: &impl Parts) -> Result<Self> {
        let folder = KeyFolder::new(root, &identity.fingerprint);
        let wanted = KeyFile::new(identity, key);
        let opened = match Self::open_to_write(folder.clone(), &wanted, parts) {
            Err(error) if may_not_write(&error) => Self::open_to_read(folder, &wanted, error),
            opened => opened,
        };
        Ok(Self { processor: key.processor.clone(), ..opened? })
    }

    fn open_to_write(folder: KeyFolder, wanted: &KeyFile, parts: &impl Parts) -> Result<Self> {
        let mut damaged = Vec::new();
        clear_way(folder.path(), true, &mut damaged);
        clear_way(&folder.lock_file(), false, &mut damaged);
        if let Ok(exclusive) = folder.lock(Sharing::Exclusive, Duration::ZERO) {
            // Nothing here is needed to read or append, so a failure (a full disk) must not keep the store
            // from opening.
            let _optional = compact::maintain(&folder, parts);
            drop(exclusive);
        }
        let lock = folder.lock(Sharing::Shared, OPEN_WAIT)?;
        let parts = folder.parts();
        clear_way(&parts, true, &mut damaged);
        std::fs::create_dir_all(&parts)
            .map_err(|source| unwritable("create the directory", &parts, source))?;
        // Only the system knows whether a file can be made there. A full disk does not matter yet.
        if let Err(source) = tempfile::tempfile_in(&parts)
            && is_refusal(&source)
        {
            return Err(unwritable("write", &parts, source));
        }
        let vouched = settle_key(&folder, wanted, &mut damaged)?;
        lock.mark_used();
        let mut open = Self {
            folder,
            pending: Pending::default(),
            damaged,
            unwritable: None,
            vouched,
            processor: None,
            scratch: None,
            _lock: Some(lock),
        };
        for file in open.folder.files()?.into_iter().filter(|file| file.role == Role::Obstacle) {
            open.set_aside(file.path, &Fault::Damaged("a directory lies where a part belongs".to_owned()));
        }
        Ok(open)
    }

    fn open_to_read(folder: KeyFolder, wanted: &KeyFile, why: Error) -> Result<Self> {
        let lock = match folder.lock_to_look(OPEN_WAIT) {
            Err(error) if may_not_write(&error) => None,
            lock => lock?,
        };
        let mut damaged = Vec::new();
        let vouched = match read_key(&folder, wanted) {
            Ok(_) => true,
            Err(Fault::Vanished) => false,
            Err(fault) => {
                damaged.push(Damage { path: folder.key_file(), reason: fault.reason().to_owned() });
                false
            }
        };
        Ok(Self {
            folder,
            pending: Pending::default(),
            damaged,
            unwritable: Some(why),
            vouched,
            processor: None,
            scratch: None,
            _lock: lock,
        })
    }

    /// Where what is added is written to.
    pub fn written_to(&self) -> PathBuf {
        if self.unwritable.is_some() { std::env::temp_dir() } else { self.folder.path().to_path_buf() }
    }

    /// Writes the first of the texts that wait, at most so many: the part, and how many they were. None when
    /// nothing waits.
    ///
    /// # Errors
    /// The part cannot be written ([`Kind::Space`] when the disk is full); the texts keep waiting.
    ///
    /// [`Kind::Space`]: crate::error::Kind::Space
    pub fn write_pending(&mut self, parts: &impl Parts, most: usize) -> Result<Option<(PathBuf, usize)>> {
        let count = self.pending.texts.len().min(most);
        if count == 0 {
            self.pending = Pending::default();
            return Ok(None);
        }
        let folder = self.writable()?;
        if let (Some(processor), None) = (&self.processor, &self.unwritable) {
            note(&folder, processor)?;
            self.processor = None;
        }
        let path = folder.write(parts, &self.pending.texts[..count])?;
        self.pending.bytes -= self.pending.texts.drain(..count).map(|(_, bytes)| bytes.len()).sum::<usize>();
        Ok(Some((path, count)))
    }

    /// The folder that parts are written into.
    fn writable(&mut self) -> Result<KeyFolder> {
        if self.unwritable.is_none() {
            return Ok(self.folder.clone());
        }
        let place = std::env::temp_dir();
        let failed = |source| Error::io("keep features for as long as this command runs", &place, source);
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new(&place, 0o700).map_err(failed)?,
        };
        let folder = KeyFolder::at(self.scratch.insert(scratch).path());
        std::fs::create_dir_all(folder.parts()).map_err(failed)?;
        Ok(folder)
    }

    /// Renames a damaged part, so that it is checked and reported once; one that may be good stays where it
    /// is, and one that is gone is no damage.
    ///
    /// Should another process have just replaced it by the good part of the same name, that part is lost to
    /// the next open (and computed again): nothing wrong can come of it.
    pub fn set_aside(&mut self, path: PathBuf, fault: &Fault) {
        let aside = match fault {
            Fault::Vanished => return,
            Fault::Damaged(_) => folder::set_aside(&path).ok(),
            Fault::Unreadable(_) | Fault::Newer(_) => None,
        };
        let path = aside.unwrap_or(path);
        self.damaged.push(Damage { path, reason: fault.reason().to_owned() });
    }
}

/// Sets aside what lies where a directory of ours belongs and is none, or where a file belongs and is a
/// directory.
fn clear_way(path: &Path, directory: bool, damaged: &mut Vec<Damage>) {
    let in_the_way = path.metadata().is_ok_and(|metadata| metadata.is_dir() != directory);
    if in_the_way && let Ok(aside) = folder::set_aside(path) {
        let reason = if directory { "no directory lay in its place" } else { "a directory lay in its place" };
        damaged.push(Damage { path: aside, reason: reason.to_owned() });
    }
}

/// What `key.json` says, if that is what is wanted.
fn read_key(folder: &KeyFolder, wanted: &KeyFile) -> Result<KeyFile, Fault> {
    let found = KeyFile::read(&folder.key_file())?;
    if found.describes_as(wanted) {
        return Ok(found);
    }
    // The values are the same: they have the same hash.
    let (found, wanted) = (found.width, wanted.width);
    Err(Fault::Damaged(format!("it describes rows of {found} values, and rows of {wanted} belong there")))
}

/// Notes which kind of processor computes what is added, before anything is.
///
/// # Errors
/// It cannot be written.
fn note(folder: &KeyFolder, processor: &str) -> Result<()> {
    // What cannot be read is damaged: the next who opens the folder makes it anew.
    let Ok(key) = KeyFile::read(&folder.key_file()) else { return Ok(()) };
    let mut processors = key.processors.clone();
    if processors.is_empty() && folder.files()?.iter().any(|file| file.role.is_good()) {
        processors.insert(UNKNOWN.to_owned());
    }
    if processors.insert(processor.to_owned()) {
        folder.write_key(&key.computed_by(processors))
    } else {
        Ok(())
    }
}

/// Sees to it that `key.json` says what it must; whether it did.
///
/// # Errors
/// It cannot be written.
fn settle_key(folder: &KeyFolder, wanted: &KeyFile, damaged: &mut Vec<Damage>) -> Result<bool> {
    match read_key(folder, wanted) {
        Ok(found) => {
            if found.has_other_owner(wanted) {
                // Only a note for people: a full disk must not keep the store from opening.
                let _optional = folder.write_key(&wanted.clone().computed_by(found.processors));
            }
            return Ok(true);
        }
        Err(Fault::Vanished) => {}
        Err(fault) => {
            let path = folder.key_file();
            // One that stays in place is written over, if it is a file; it may have gone meanwhile.
            let path = folder::set_aside(&path).unwrap_or(path);
            damaged.push(Damage { path, reason: fault.reason().to_owned() });
        }
    }
    folder.write_key(wanted)?;
    Ok(false)
}
