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

use half::f16;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Identity};
use super::folder::{KeyFolder, NAME_DIGITS, Parts, Role, Stored, Text};
use super::open::OpenFolder;
use super::{Damage, StoreKey};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, TextKey};
use crate::tensors::{Dtype, TensorFile, Tensors, bytes_of, half_bytes_of, read_floats, read_halves};

/// A part is written when its states have so many bytes.
const FLUSH_BYTES: usize = 16 << 20;

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

/// What a token's states are: how many numbers, and how they are kept.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    hidden: usize,
    precision: StatePrecision,
}

/// The token states of one key, open for reading and appending. A text can be read once it was written
/// ([`Self::flush`]).
pub struct TokenStates {
    open: OpenFolder,
    shape: Shape,
    parts: Vec<MappedPart>,
    index: HashMap<TextKey, Place>,
}

impl TokenStates {
    /// Opens the states of `key` under `root`; every part is verified.
    ///
    /// # Errors
    /// The folder cannot be created or read, or is being pruned.
    pub fn open(root: &Path, key: &StoreKey, hidden: usize, precision: StatePrecision) -> Result<Self> {
        let width =
            u32::try_from(hidden).map_err(|_| Error::new(Kind::Usage, "states cannot be this wide"))?;
        let identity = Identity { fingerprint: key.fingerprint(), width };
        let shape = Shape { hidden, precision };
        let open = OpenFolder::open(root, key, &identity, &shape)?;
        let mut states = Self { open, shape, parts: Vec::new(), index: HashMap::new() };
        let files = states.open.folder.files()?;
        for file in files.into_iter().filter(|file| file.role == Role::States) {
            let mapped = if states.open.vouched { states.map(&file.path) } else { Err(unvouched()) };
            if let Err(fault) = mapped {
                states.open.set_aside(file.path, &fault);
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
        &self.open.damaged
    }

    /// Where what is added is written to.
    #[must_use]
    pub fn written_to(&self) -> PathBuf {
        self.open.written_to()
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
        let Shape { hidden, precision } = self.shape;
        let count = tokens * hidden;
        if out.len() < count {
            return Err(Error::new(Kind::Usage, "the space for token states is too small")
                .found(out.len().to_string())
                .expected(count.to_string()));
        }
        let part = &self.parts[part];
        let start = part.states + first * hidden * precision.bytes();
        let bytes = &part.map[start..start + count * precision.bytes()];
        match precision {
            StatePrecision::F16 => read_halves(bytes, &mut out[..count]),
            StatePrecision::F32 => read_floats(bytes, &mut out[..count]),
        }
        Ok(Some(tokens))
    }

    /// Adds a text's states `[tokens, hidden]`; one that is there already is ignored.
    ///
    /// # Errors
    /// The states are not whole tokens, a number is not finite or too large for the precision, or the part
    /// that became due cannot be written ([`Kind::Space`]: the disk is full).
    pub fn append(&mut self, key: TextKey, states: &[f32]) -> Result<()> {
        if self.index.contains_key(&key) || self.open.pending.texts.iter().any(|(waiting, _)| *waiting == key)
        {
            return Ok(());
        }
        if states.is_empty() || !states.len().is_multiple_of(self.shape.hidden) {
            return Err(Error::new(Kind::Usage, "token states are not whole tokens")
                .found(format!("{} numbers", states.len()))
                .expected(format!("a multiple of {}", self.shape.hidden)));
        }
        let precision = self.shape.precision;
        let fits = |number: &f32| match precision {
            StatePrecision::F16 => f16::from_f32(*number).is_finite(),
            StatePrecision::F32 => number.is_finite(),
        };
        if let Some(number) = states.iter().find(|number| !fits(number)) {
            return Err(unfit(*number, precision));
        }
        let bytes = match precision {
            StatePrecision::F16 => half_bytes_of(states),
            StatePrecision::F32 => bytes_of(states),
        };
        let pending = &mut self.open.pending;
        pending.add(key, bytes);
        if pending.is_due() || pending.bytes >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the texts that wait; after a success they survive a power cut, and can be read.
    ///
    /// # Errors
    /// The part cannot be written; the texts keep waiting.
    pub fn flush(&mut self) -> Result<()> {
        while let Some((path, _)) = self.open.write_pending(&self.shape, usize::MAX)? {
            self.map(&path).map_err(|fault| {
                Error::new(Kind::Store, "token states that were just written cannot be read")
                    .at(path)
                    .found(fault.reason())
            })?;
        }
        Ok(())
    }

    /// Maps a part and adds its texts to the index.
    fn map(&mut self, path: &Path) -> Result<(), Fault> {
        let map = open_part(path)?;
        let (entries, states) = self.shape.examine(&map)?;
        let part = self.parts.len();
        self.parts.push(MappedPart { map, states });
        for (key, first, tokens) in entries {
            self.index.entry(key).or_insert(Place { part, first, tokens });
        }
        Ok(())
    }
}

type Entries = Vec<(TextKey, usize, usize)>;

impl Shape {
    /// Bytes of a token's states.
    fn bytes(self) -> usize {
        self.hidden * self.precision.bytes()
    }

    /// That of a part, as it says itself.
    pub fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let wrong = |error: Error| Fault::Damaged(error.to_string());
        let file = Tensors::read(bytes, Kind::Store).map_err(wrong)?;
        let of = |precision: StatePrecision| {
            let hidden = *file.get("states", precision.dtype()).map_err(wrong)?.shape().get(1).unwrap_or(&0);
            Ok(Self { hidden, precision })
        };
        of(StatePrecision::F16).or_else(|_| of(StatePrecision::F32))
    }

    /// The texts of a part (key, first token, tokens) and where its states begin.
    fn examine(self, bytes: &[u8]) -> Result<(Entries, usize), Fault> {
        let wrong = |error: Error| Fault::Damaged(error.to_string());
        let file = Tensors::read(bytes, Kind::Store).map_err(wrong)?;
        let keys = file.get("keys", Dtype::U8).map_err(wrong)?;
        let starts = file.get("starts", Dtype::I64).map_err(wrong)?;
        let states = file.get("states", self.precision.dtype()).map_err(wrong)?;
        let (keys, starts) = (keys.data().as_chunks().0, starts.data().as_chunks().0);
        let starts: Vec<i64> = starts.iter().map(|start| i64::from_le_bytes(*start)).collect();
        let whole = starts.first() == Some(&0)
            && starts.is_sorted_by(|a, b| a < b)
            && starts.last().and_then(|end| usize::try_from(*end).ok()) == states.shape().first().copied();
        if keys.len() != starts.len().saturating_sub(1)
            || !whole
            || states.shape().get(1) != Some(&self.hidden)
        {
            return Err(Fault::Damaged("its texts and its states do not fit each other".to_owned()));
        }
        let places = starts.windows(2).map(|ends| (ends[0] as usize, (ends[1] - ends[0]) as usize));
        let entries = keys.iter().zip(places).map(|(key, (first, tokens))| (TextKey(*key), first, tokens));
        let offset = states.data().as_ptr() as usize - bytes.as_ptr() as usize;
        Ok((entries.collect(), offset))
    }
}

impl Parts for Shape {
    fn is_small(&self, file: &Stored) -> bool {
        file.role == Role::States
    }

    fn load(&self, path: &Path) -> Result<Vec<Text>, Fault> {
        let map = open_part(path)?;
        let (entries, states) = self.examine(&map)?;
        let bytes = |first, tokens| map[states + first * self.bytes()..][..tokens * self.bytes()].to_vec();
        Ok(entries.into_iter().map(|(key, first, tokens)| (key, bytes(first, tokens))).collect())
    }

    fn encode(&self, texts: &[Text]) -> (Vec<u8>, String) {
        let (mut keys, mut states, mut starts) = (Vec::new(), Vec::new(), vec![0; 8]);
        for (key, bytes) in texts {
            keys.extend(key.0);
            states.extend_from_slice(bytes);
            starts.extend(((states.len() / self.bytes()) as i64).to_le_bytes());
        }
        let mut file = TensorFile::default();
        file.add("keys", Dtype::U8, &[texts.len(), 16], keys);
        file.add("starts", Dtype::I64, &[texts.len() + 1], starts);
        let tokens = states.len() / self.bytes();
        file.add("states", self.precision.dtype(), &[tokens, self.hidden], states);
        let bytes = file.to_bytes();
        let name = format!("{}.safetensors", &Fingerprint::of_bytes(&bytes).to_string()[..NAME_DIGITS]);
        (bytes, name)
    }
}

/// Maps a part whose bytes are what its name says.
fn open_part(path: &Path) -> Result<Mmap, Fault> {
    let map = map_file(path)?;
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    if Fingerprint::of_bytes(&map).to_string()[..NAME_DIGITS] != *name {
        return Err(Fault::Damaged("its contents are not those its name was made of".to_owned()));
    }
    Ok(map)
}

fn map_file(path: &Path) -> Result<Mmap, Fault> {
    let file = File::open(path).map_err(|source| Fault::from_io(&source))?;
    // SAFETY: a part is never written again after its rename, only unlinked, which leaves the mapping whole.
    // Someone who truncates files of the cache by hand can end this process, but not make it read what is not
    // there.
    unsafe { Mmap::map(&file) }.map_err(|source| Fault::from_io(&source))
}

/// What is wrong with token states that lie in a folder without a `key.json` of its own.
pub(super) fn unvouched() -> Fault {
    Fault::Damaged(
        "nothing says any more what they were computed with: key.json was gone or damaged".to_owned(),
    )
}

/// The number of texts of a good part, and of values a token.
pub(super) fn check(path: &Path) -> Result<(u64, u32), Fault> {
    texts(&open_part(path)?)
}

/// The same as a part declares it; its contents are not checked.
pub(super) fn declared(path: &Path) -> Result<(u64, u32), Fault> {
    texts(&map_file(path)?)
}

fn texts(map: &Mmap) -> Result<(u64, u32), Fault> {
    let shape = Shape::of(map)?;
    let (entries, _) = shape.examine(map)?;
    Ok((entries.len() as u64, u32::try_from(shape.hidden).unwrap_or(u32::MAX)))
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
    use super::super::compact;
    use super::*;

    fn key() -> StoreKey {
        StoreKey { fields: [("weights".to_owned(), "w".to_owned())].into(), ..StoreKey::default() }
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
        states.open.folder.files().unwrap()[0].path.clone()
    }

    #[test]
    fn the_bytes_of_a_part_do_not_change() {
        let name = |precision| {
            let root = tempfile::tempdir().unwrap();
            filled(root.path(), precision).file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name(StatePrecision::F16), "e3df1bc6260e01cafceee581caf447ff.safetensors");
        assert_eq!(name(StatePrecision::F32), "d787eb7e92a0c9e6b01c0d0909d846d4.safetensors");
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
            assert_eq!((states.index.len(), states.tokens(&text(1))), (2, Some(2)));
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
            assert!(check(&path).is_err());
            let states = open(root.path(), StatePrecision::F32);
            assert!(states.is_empty() && states.damaged().len() == 1, "{:?}", states.damaged());
            drop(states);
            filled(root.path(), StatePrecision::F32);
            assert_eq!(open(root.path(), StatePrecision::F32).index.len(), 2);
        }
    }

    #[test]
    fn many_small_parts_are_merged_when_nobody_has_the_states_open() {
        for precision in [StatePrecision::F16, StatePrecision::F32] {
            let root = tempfile::tempdir().unwrap();
            let count = compact::MAX_SMALL_PARTS as u32 + 1;
            let mut states = open(root.path(), precision);
            for number in 0..count {
                let tokens = vec![number as f32; 2 * (1 + number as usize % 3)];
                states.append(text(number), &tokens).unwrap();
                states.flush().unwrap();
            }
            let parts = |states: &TokenStates| states.open.folder.files().unwrap().len();
            assert_eq!(parts(&open(root.path(), precision)), count as usize, "the first has them open");
            drop(states);
            let states = open(root.path(), precision);
            assert_eq!((parts(&states), states.index.len(), states.damaged().len()), (1, count as usize, 0));
            for number in 0..count {
                let mut out = [-1.0; 6];
                let tokens = states.read(&text(number), &mut out).unwrap().unwrap();
                assert_eq!(tokens, 1 + number as usize % 3);
                assert!(out[..2 * tokens].iter().all(|value| *value == number as f32), "{out:?}");
            }
        }
    }

    #[test]
    fn a_part_whose_texts_and_states_do_not_fit_is_refused() {
        let bytes = |starts: &[i64], keys: usize| {
            let (keys_data, states) = (vec![0; 16 * keys], vec![0; 3 * 2 * 4]);
            let starts_data: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
            let mut file = TensorFile::default();
            file.add("keys", Dtype::U8, &[keys, 16], keys_data);
            file.add("starts", Dtype::I64, &[starts.len()], starts_data);
            file.add("states", Dtype::F32, &[3, 2], states);
            file.to_bytes()
        };
        let shape = |hidden, precision| Shape { hidden, precision };
        let verdict =
            |starts: &[i64], keys| shape(2, StatePrecision::F32).examine(&bytes(starts, keys)).is_ok();
        assert!(verdict(&[0, 2, 3], 2));
        for (starts, keys) in
            [([0, 2, 3].as_slice(), 1), (&[0, 2, 4], 2), (&[0, 2, 2], 2), (&[1, 2, 3], 2), (&[], 0)]
        {
            assert!(!verdict(starts, keys), "{starts:?} {keys}");
        }
        assert!(shape(2, StatePrecision::F16).examine(&bytes(&[0, 2, 3], 2)).is_err());
        assert!(shape(3, StatePrecision::F32).examine(&bytes(&[0, 2, 3], 2)).is_err());
    }
}
