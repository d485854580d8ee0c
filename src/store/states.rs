//! Owns the token states at a cut: per text `[tokens, hidden]`, without padding, in parts that are mapped
//! into memory.
//!
//! Refuses to trust: a part bears the hash of its bytes as its name, and one that lies is set aside and
//! computed again.
//!
//! # A part
//!
//! `parts/<first 32 digits of the file's BLAKE3>.safetensors` with the tensors `keys` (U8 `[texts, 16]`),
//! `starts` (I64 `[texts + 1]`: the first token of each text, and the end of the last) and `states` (F16 or
//! F32 `[tokens, hidden]`).

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::folder::{KeyFile, KeyFolder, Lock, Role, Sharing, unwritable};
use super::part::{self, Identity};
use super::{Damage, StoreKey, fault};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, TextKey};

/// A part is written when its states have so many bytes …
const FLUSH_BYTES: usize = 16 << 20;
/// … or this long after its first text, if texts keep coming.
const FLUSH_AFTER: Duration = Duration::from_secs(5);
const OPEN_WAIT: Duration = Duration::from_secs(30);
/// Numbers that are converted from half precision together.
const CONVERTED_AT_ONCE: usize = 512;
/// Hexadecimal digits of a part's name.
const NAME_DIGITS: usize = 32;

/// How token states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatePrecision {
    /// Half the space; numbers are rounded to 11 bits.
    #[default]
    F16,
    /// As they were computed.
    F32,
}

impl StatePrecision {
    /// Bytes of a number.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
        }
    }
}

impl FromStr for StatePrecision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f16" => Ok(Self::F16),
            "f32" => Ok(Self::F32),
            _ => Err(Error::new(Kind::Usage, "there is no such precision of token states")
                .found(format!("{text:?}"))
                .expected("f16 or f32")),
        }
    }
}

impl std::fmt::Display for StatePrecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// A verified part.
struct MappedPart {
    map: Mmap,
    /// Where in the file the states begin.
    states: usize,
}

#[derive(Clone, Copy)]
struct Place {
    part: usize,
    first: usize,
    tokens: usize,
}

/// Texts that are not written yet.
#[derive(Default)]
struct Pending {
    keys: Vec<TextKey>,
    starts: Vec<i64>,
    states: Vec<u8>,
    since: Option<Instant>,
}

/// The token states of one key, open for reading and appending. A text can be read once it was written
/// ([`Self::flush`]).
pub struct TokenStates {
    folder: KeyFolder,
    hidden: usize,
    precision: StatePrecision,
    parts: Vec<MappedPart>,
    index: HashMap<TextKey, Place>,
    pending: Pending,
    damaged: Vec<Damage>,
    /// Held as long as the states are open.
    _lock: Lock,
}

impl TokenStates {
    /// Opens the states of `key` under `root`; every part is verified.
    ///
    /// # Errors
    /// The folder cannot be created or read, describes another key, or is being pruned.
    pub fn open(root: &Path, key: &StoreKey, hidden: usize, precision: StatePrecision) -> Result<Self> {
        let width =
            u32::try_from(hidden).map_err(|_| Error::new(Kind::Usage, "states cannot be this wide"))?;
        let identity = Identity { fingerprint: key.fingerprint(), width };
        let folder = KeyFolder::new(root, &identity.fingerprint);
        if let Ok(exclusive) = folder.lock(Sharing::Exclusive, Duration::ZERO) {
            // Leftovers of killed processes; a failure must not keep the states from opening.
            let _optional = folder.remove_temporary_files();
            drop(exclusive);
        }
        let lock = folder.lock(Sharing::Shared, OPEN_WAIT)?;
        let parts = folder.parts();
        std::fs::create_dir_all(&parts)
            .map_err(|source| unwritable("create the directory", &parts, source))?;
        folder.settle_key(&KeyFile::new(&identity, &key.fields))?;
        lock.mark_used();
        let mut states = Self {
            folder,
            hidden,
            precision,
            parts: Vec::new(),
            index: HashMap::new(),
            pending: Pending::default(),
            damaged: Vec::new(),
            _lock: lock,
        };
        let files = states.folder.files()?;
        for file in files.into_iter().filter(|file| file.role == Role::States) {
            if let Err(reason) = states.map(&file.path) {
                states.damaged.push(set_aside(file.path, reason));
            }
        }
        Ok(states)
    }

    /// Whether there may be states of `key` under `root`.
    #[must_use]
    pub fn exists(root: &Path, key: &StoreKey) -> bool {
        KeyFolder::new(root, &key.fingerprint()).key_file().exists()
    }

    /// Bytes that `texts` texts of `tokens` tokens in all take.
    #[must_use]
    pub fn space_needed(texts: u64, tokens: u64, hidden: usize, precision: StatePrecision) -> u64 {
        tokens * (hidden * precision.bytes()) as u64 + texts * 24 + (1 << 16)
    }

    /// Parts that could not be trusted when the states were opened.
    #[must_use]
    pub fn damaged(&self) -> &[Damage] {
        &self.damaged
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of all states.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.map.len() as u64).sum()
    }

    /// Tokens of a text; none when it is not there.
    #[must_use]
    pub fn tokens(&self, key: &TextKey) -> Option<usize> {
        self.index.get(key).map(|place| place.tokens)
    }

    /// Copies a text's states to the front of `out` and returns its number of tokens; none when it is not
    /// there.
    ///
    /// # Errors
    /// `out` is too small.
    pub fn read(&self, key: &TextKey, out: &mut [f32]) -> Result<Option<usize>> {
        let Some(&Place { part, first, tokens }) = self.index.get(key) else { return Ok(None) };
        let count = tokens * self.hidden;
        if out.len() < count {
            return Err(Error::new(Kind::Usage, "the space for token states is too small")
                .found(out.len().to_string())
                .expected(count.to_string()));
        }
        let part = &self.parts[part];
        let width = self.precision.bytes();
        let start = part.states + first * self.hidden * width;
        let bytes = &part.map[start..start + count * width];
        match self.precision {
            StatePrecision::F16 => {
                // In pieces, so that the processor's own conversion of eight at a time is used.
                let mut halves = [f16::ZERO; CONVERTED_AT_ONCE];
                for (numbers, bytes) in
                    out[..count].chunks_mut(CONVERTED_AT_ONCE).zip(bytes.chunks(2 * CONVERTED_AT_ONCE))
                {
                    let halves = &mut halves[..numbers.len()];
                    halves
                        .iter_mut()
                        .zip(bytes.as_chunks().0)
                        .for_each(|(half, own)| *half = f16::from_le_bytes(*own));
                    halves.convert_to_f32_slice(numbers);
                }
            }
            StatePrecision::F32 => {
                for (number, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *number = f32::from_le_bytes(*bytes);
                }
            }
        }
        Ok(Some(tokens))
    }

    /// Adds a text's states `[tokens, hidden]`; one that is there already is ignored.
    ///
    /// # Errors
    /// The states are not whole tokens, a number is not finite or too large for the precision, or the part
    /// that became due cannot be written ([`Kind::Space`]: the disk is full).
    pub fn append(&mut self, key: TextKey, states: &[f32]) -> Result<()> {
        if self.index.contains_key(&key) || self.pending.keys.contains(&key) {
            return Ok(());
        }
        if states.is_empty() || !states.len().is_multiple_of(self.hidden) {
            return Err(Error::new(Kind::Usage, "token states are not whole tokens")
                .found(format!("{} numbers", states.len()))
                .expected(format!("a multiple of {}", self.hidden)));
        }
        let fits = |number: &f32| match self.precision {
            StatePrecision::F16 => f16::from_f32(*number).is_finite(),
            StatePrecision::F32 => number.is_finite(),
        };
        if let Some(number) = states.iter().find(|number| !fits(number)) {
            return Err(unfit(*number, self.precision));
        }
        let pending = &mut self.pending;
        let end = pending.starts.last().copied().unwrap_or(0) + (states.len() / self.hidden) as i64;
        if pending.starts.is_empty() {
            pending.starts.push(0);
        }
        pending.starts.push(end);
        pending.keys.push(key);
        match self.precision {
            StatePrecision::F16 => {
                let mut halves = vec![f16::ZERO; states.len()];
                halves.convert_from_f32_slice(states);
                pending.states.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
            }
            StatePrecision::F32 => pending.states.extend(states.iter().flat_map(|own| own.to_le_bytes())),
        }
        let since = *pending.since.get_or_insert_with(Instant::now);
        if pending.states.len() >= FLUSH_BYTES || since.elapsed() >= FLUSH_AFTER {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the texts that wait; after a success they survive a power cut, and can be read.
    ///
    /// # Errors
    /// The part cannot be written; the texts keep waiting.
    pub fn flush(&mut self) -> Result<()> {
        if self.pending.keys.is_empty() {
            return Ok(());
        }
        let bytes = self.encode()?;
        let name = &Fingerprint::of_bytes(&bytes).to_string()[..NAME_DIGITS];
        let path = self.folder.parts().join(format!("{name}.safetensors"));
        part::write_durably(&self.folder.parts(), &path, &bytes, &fault::point)?;
        self.pending = Pending::default();
        self.map(&path).map_err(|reason| {
            Error::new(Kind::Store, "token states that were just written cannot be read")
                .at(path)
                .found(reason)
        })
    }

    fn encode(&self) -> Result<Vec<u8>> {
        let Pending { keys, starts, states, .. } = &self.pending;
        let key_bytes: Vec<u8> = keys.iter().flat_map(|key| key.0).collect();
        let start_bytes: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        let tokens = states.len() / (self.hidden * self.precision.bytes());
        let wrong = |source| Error::new(Kind::Store, "token states cannot be written").because(source);
        let views = [
            ("keys", TensorView::new(Dtype::U8, vec![keys.len(), 16], &key_bytes).map_err(wrong)?),
            ("starts", TensorView::new(Dtype::I64, vec![starts.len()], &start_bytes).map_err(wrong)?),
            (
                "states",
                TensorView::new(self.precision.dtype(), vec![tokens, self.hidden], states).map_err(wrong)?,
            ),
        ];
        safetensors::serialize(views, None).map_err(wrong)
    }

    /// Maps a part and adds its texts to the index.
    fn map(&mut self, path: &Path) -> std::result::Result<(), String> {
        let map = open_part(path)?;
        let (entries, states) = examine(&map, self.hidden, self.precision)?;
        let part = self.parts.len();
        self.parts.push(MappedPart { map, states });
        for (key, first, tokens) in entries {
            self.index.entry(key).or_insert(Place { part, first, tokens });
        }
        Ok(())
    }
}

/// Maps a part whose bytes are what its name says.
fn open_part(path: &Path) -> std::result::Result<Mmap, String> {
    let map = map_file(path)?;
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    if Fingerprint::of_bytes(&map).to_string()[..NAME_DIGITS] != *name {
        return Err("its contents are not those its name was made of".to_owned());
    }
    Ok(map)
}

fn map_file(path: &Path) -> std::result::Result<Mmap, String> {
    let file = File::open(path).map_err(|source| format!("it cannot be read: {source}"))?;
    // SAFETY: a part is never written again after its rename, only unlinked, which leaves the mapping whole.
    // Someone who truncates files of the cache by hand can end this process, but not make it read what is not
    // there.
    unsafe { Mmap::map(&file) }.map_err(|source| format!("it cannot be mapped: {source}"))
}

type Entries = Vec<(TextKey, usize, usize)>;

/// The texts of a part (key, first token, tokens) and where its states begin.
fn examine(
    bytes: &[u8],
    hidden: usize,
    precision: StatePrecision,
) -> std::result::Result<(Entries, usize), String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|source| format!("it is not a safetensors file: {source}"))?;
    let tensor = |name: &str, dtype: Dtype| {
        let tensor = file.tensor(name).map_err(|_| format!("it lacks {name:?}"))?;
        if tensor.dtype() == dtype { Ok(tensor) } else { Err(format!("{name:?} is of another type")) }
    };
    let (keys, starts) = (tensor("keys", Dtype::U8)?, tensor("starts", Dtype::I64)?);
    let states = tensor("states", precision.dtype())?;
    let starts: Vec<i64> = starts.data().as_chunks().0.iter().map(|own| i64::from_le_bytes(*own)).collect();
    let whole = starts.first() == Some(&0)
        && starts.is_sorted_by(|a, b| a < b)
        && starts.last().and_then(|end| usize::try_from(*end).ok()) == states.shape().first().copied();
    if keys.data().len() != 16 * (starts.len().saturating_sub(1))
        || !whole
        || states.shape().get(1) != Some(&hidden)
    {
        return Err("its texts and its states do not fit each other".to_owned());
    }
    let entries = keys
        .data()
        .as_chunks()
        .0
        .iter()
        .zip(starts.windows(2))
        .map(|(key, ends)| (TextKey(*key), ends[0] as usize, (ends[1] - ends[0]) as usize));
    let offset = states.data().as_ptr() as usize - bytes.as_ptr() as usize;
    Ok((entries.collect(), offset))
}

/// The texts of a good part, or what is wrong with it.
pub(super) fn check(path: &Path, hidden: usize) -> std::result::Result<u64, String> {
    texts(&open_part(path)?, hidden)
}

/// The texts a part declares; its contents are not checked.
pub(super) fn declared_texts(path: &Path, hidden: usize) -> std::result::Result<u64, String> {
    texts(&map_file(path)?, hidden)
}

fn texts(map: &Mmap, hidden: usize) -> std::result::Result<u64, String> {
    let f16 = examine(map, hidden, StatePrecision::F16);
    f16.or_else(|_| examine(map, hidden, StatePrecision::F32)).map(|(entries, _)| entries.len() as u64)
}

fn set_aside(path: PathBuf, reason: String) -> Damage {
    let mut aside = path.clone().into_os_string();
    aside.push(".damaged");
    let aside = PathBuf::from(aside);
    let renamed = std::fs::rename(&path, &aside).is_ok();
    Damage { path: if renamed { aside } else { path }, reason }
}

fn unfit(number: f32, precision: StatePrecision) -> Error {
    let error = Error::new(Kind::Store, "a token state cannot be stored").found(number.to_string());
    if number.is_finite() {
        return error
            .expected(format!("a number that fits {precision}, at most {}", f16::MAX))
            .help("say --states f32, which takes twice the disk");
    }
    error
        .expected("a finite number")
        .help("the backbone's weights are damaged or overflow on a text: import it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StoreKey {
        StoreKey { fields: [("weights".to_owned(), "w".to_owned())].into() }
    }

    fn open(root: &Path, precision: StatePrecision) -> TokenStates {
        TokenStates::open(root, &key(), 2, precision).unwrap()
    }

    fn text(number: u32) -> TextKey {
        TextKey::of(&number.to_string())
    }

    fn filled(root: &Path, precision: StatePrecision) -> PathBuf {
        let mut states = open(root, precision);
        states.append(text(1), &[1.0, 2.0, 3.0, 0.1]).unwrap();
        states.append(text(2), &[5.0, 6.0]).unwrap();
        states.flush().unwrap();
        states.folder.files().unwrap()[0].path.clone()
    }

    #[test]
    fn numbers_that_would_not_come_back_are_not_stored() {
        for (precision, number, part) in [
            (StatePrecision::F16, 65_504.0, None),
            (StatePrecision::F16, 65_600.0, Some("at most 65504")),
            (StatePrecision::F32, 65_600.0, None),
            (StatePrecision::F32, f32::NAN, Some("a finite number")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let mut states = open(root.path(), precision);
            let kept = states.append(TextKey::of(&format!("{number}")), &[1.0, number]);
            match part {
                None => kept.unwrap(),
                Some(part) => assert!(kept.unwrap_err().to_string().contains(part)),
            }
        }
    }

    #[test]
    fn texts_of_any_length_come_back_after_a_restart_in_either_precision() {
        for (precision, tenth) in
            [(StatePrecision::F16, f16::from_f32(0.1).to_f32()), (StatePrecision::F32, 0.1)]
        {
            let root = tempfile::tempdir().unwrap();
            filled(root.path(), precision);
            let states = open(root.path(), precision);
            let mut out = [0.0; 4];
            assert_eq!(states.read(&text(1), &mut out).unwrap(), Some(2));
            assert_eq!(out, [1.0, 2.0, 3.0, tenth]);
            assert_eq!(
                (states.read(&text(2), &mut out).unwrap(), &out[..2]),
                (Some(1), [5.0, 6.0].as_slice())
            );
            assert_eq!(states.read(&text(3), &mut out).unwrap(), None);
            assert!(states.read(&text(1), &mut [0.0; 3]).is_err());
            assert_eq!((states.len(), states.tokens(&text(1))), (2, Some(2)));
        }
    }

    #[test]
    fn a_flipped_bit_and_a_truncated_file_are_set_aside_and_computed_again() {
        let changes: [fn(&mut Vec<u8>); 2] =
            [|bytes| *bytes.last_mut().unwrap() ^= 1, |bytes| bytes.truncate(100)];
        for change in changes {
            let root = tempfile::tempdir().unwrap();
            let path = filled(root.path(), StatePrecision::F32);
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            assert!(check(&path, 2).is_err());
            let states = open(root.path(), StatePrecision::F32);
            assert!(states.is_empty() && states.damaged().len() == 1, "{:?}", states.damaged());
            drop(states);
            filled(root.path(), StatePrecision::F32);
            assert_eq!(open(root.path(), StatePrecision::F32).len(), 2);
        }
    }

    #[test]
    fn a_part_whose_texts_and_states_do_not_fit_is_refused() {
        let bytes = |starts: &[i64], keys: usize| {
            let (keys_data, states) = (vec![0; 16 * keys], vec![0; 3 * 2 * 4]);
            let starts_data: Vec<u8> = starts.iter().flat_map(|own| own.to_le_bytes()).collect();
            let views = [
                ("keys", TensorView::new(Dtype::U8, vec![keys, 16], &keys_data).unwrap()),
                ("starts", TensorView::new(Dtype::I64, vec![starts.len()], &starts_data).unwrap()),
                ("states", TensorView::new(Dtype::F32, vec![3, 2], &states).unwrap()),
            ];
            safetensors::serialize(views, None).unwrap()
        };
        let verdict = |starts: &[i64], keys| examine(&bytes(starts, keys), 2, StatePrecision::F32).is_ok();
        assert!(verdict(&[0, 2, 3], 2));
        for (starts, keys) in
            [([0, 2, 3].as_slice(), 1), (&[0, 2, 4], 2), (&[0, 2, 2], 2), (&[1, 2, 3], 2), (&[], 0)]
        {
            assert!(!verdict(starts, keys), "{starts:?} {keys}");
        }
        assert!(examine(&bytes(&[0, 2, 3], 2), 2, StatePrecision::F16).is_err());
        assert!(examine(&bytes(&[0, 2, 3], 2), 3, StatePrecision::F32).is_err());
    }
}
