//! Owns the look into a shared library's file: right format, right architecture, ONNX Runtime's entry point,
//! version.
//!
//! Refuses to load or run anything of it: a wrong library must be told from a right one before its code runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The one function that every ONNX Runtime library exports.
const ENTRY_POINT: &[u8] = b"OrtGetApiBase";
/// ONNX Runtime's linker script versions its symbols `VERS_1.32.0` (tools `gen_def.py`).
const VERSION_PREFIX: &[u8] = b"VERS_";

/// The ELF machine number of this build (`e_machine`, System V ABI).
const MACHINE: Option<(u16, &str)> = if cfg!(target_arch = "x86_64") {
    Some((62, "x86-64"))
} else if cfg!(target_arch = "aarch64") {
    Some((183, "AArch64"))
} else if cfg!(target_arch = "arm") {
    Some((40, "ARM"))
} else if cfg!(target_arch = "x86") {
    Some((3, "x86"))
} else if cfg!(target_arch = "riscv64") {
    Some((243, "RISC-V"))
} else {
    None
};

/// Section types (System V ABI, and the GNU extension for symbol versions).
const STRING_TABLE: u32 = 3;
const DYNAMIC_SYMBOLS: u32 = 11;
const VERSION_DEFINITIONS: u32 = 0x6fff_fffd;

/// More than any section of names in a real library; a damaged header must not make us allocate at will.
const LARGEST_NAME_TABLE: u64 = 64 << 20;

/// The version that the file carries, if it carries one; `Err` says why the file cannot be ONNX Runtime for
/// this machine.
pub(super) fn inspect(path: &Path) -> Result<Option<String>, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut start = [0; 4];
    if file.read_exact(&mut start).is_err() {
        return Err(format!("not a shared library: it has {length} bytes"));
    }
    if cfg!(target_os = "windows") {
        return if start.starts_with(b"MZ") { Ok(None) } else { Err("not a Windows library".into()) };
    }
    if cfg!(target_os = "macos") {
        // 64-bit Mach-O, or a universal file; the loader checks the architecture.
        let known = [0xcf_fa_ed_fe_u32, 0xca_fe_ba_be].contains(&u32::from_be_bytes(start));
        return if known { Ok(None) } else { Err("not a macOS library".into()) };
    }
    if start != *b"\x7fELF" {
        return Err("not a shared library (no ELF header)".into());
    }
    Elf::open(&mut file, length)?.version()
}

struct Elf<'a> {
    file: &'a mut File,
    length: u64,
    sections: Vec<Section>,
    architecture_only: bool,
}

struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    link: usize,
}

/// A section's bytes and those of its string table.
struct NamedSection {
    content: Vec<u8>,
    names: Vec<u8>,
}

impl<'a> Elf<'a> {
    /// Reads and checks the header and the section table.
    fn open(file: &'a mut File, length: u64) -> Result<Self, String> {
        let mut elf = Self { file, length, sections: Vec::new(), architecture_only: false };
        let header = elf.read(0, 64)?;
        let bits = if header[4] == 2 { 64 } else { 32 };
        if bits != usize::BITS {
            return Err(format!("a {bits}-bit library, this program is {}-bit", usize::BITS));
        }
        if header[5] != 1 {
            return Err("a big-endian library".into());
        }
        if number(&header, 16, 2) != 3 {
            return Err("an ELF file, but not a shared library".into());
        }
        let machine = number(&header, 18, 2);
        if let Some((expected, name)) = MACHINE
            && machine != u64::from(expected)
        {
            return Err(format!("built for another processor (ELF machine {machine}), this one is {name}"));
        }
        if bits == 32 {
            elf.architecture_only = true;
            return Ok(elf);
        }
        let (table, size, count) = (number(&header, 40, 8), number(&header, 58, 2), number(&header, 60, 2));
        if size < 64 {
            return Err("its section table is damaged".into());
        }
        let table = elf.read(table, size * count)?;
        for entry in table.chunks_exact(usize::try_from(size).unwrap_or(64)) {
            elf.sections.push(Section {
                kind: u32::try_from(number(entry, 4, 4)).unwrap_or(0),
                offset: number(entry, 24, 8),
                size: number(entry, 32, 8),
                link: usize::try_from(number(entry, 40, 4)).unwrap_or(usize::MAX),
            });
        }
        Ok(elf)
    }

    /// Checks the entry point, then the version of the symbol set.
    fn version(&mut self) -> Result<Option<String>, String> {
        if self.architecture_only {
            return Ok(None);
        }
        let symbols = self.with_names(DYNAMIC_SYMBOLS)?.ok_or("it exports nothing (no dynamic symbols)")?;
        // st_name u32, st_info u8, st_other u8, st_shndx u16, st_value u64, st_size u64; section 0 =
        // imported.
        let exports = |symbol: &[u8]| {
            number(symbol, 6, 2) != 0 && text(&symbols.names, number(symbol, 0, 4)) == Some(ENTRY_POINT)
        };
        if !symbols.content.chunks_exact(24).any(exports) {
            return Err("not ONNX Runtime: it does not export OrtGetApiBase".into());
        }
        let Some(definitions) = self.with_names(VERSION_DEFINITIONS)? else { return Ok(None) };
        Ok(defined_versions(&definitions.content)
            .filter_map(|name| text(&definitions.names, name)?.strip_prefix(VERSION_PREFIX))
            .find_map(|version| String::from_utf8(version.to_vec()).ok()))
    }

    /// The content of the first section of `kind` and of the string table that it uses.
    fn with_names(&mut self, kind: u32) -> Result<Option<NamedSection>, String> {
        let Some(section) = self.sections.iter().find(|section| section.kind == kind) else {
            return Ok(None);
        };
        let (offset, size, link) = (section.offset, section.size, section.link);
        let Some(names) = self.sections.get(link).filter(|names| names.kind == STRING_TABLE) else {
            return Err("its section table is damaged".into());
        };
        let (names_offset, names_size) = (names.offset, names.size);
        Ok(Some(NamedSection {
            content: self.read(offset, size)?,
            names: self.read(names_offset, names_size)?,
        }))
    }

    fn read(&mut self, offset: u64, size: u64) -> Result<Vec<u8>, String> {
        let end = offset.checked_add(size).filter(|&end| end <= self.length && size <= LARGEST_NAME_TABLE);
        let Some(size) = end.and_then(|_| usize::try_from(size).ok()) else {
            return Err("cut off: the file is shorter than its own header says".into());
        };
        let mut bytes = vec![0; size];
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| error.to_string())?;
        self.file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

/// The name offsets of a `.gnu.version_d` section: each definition points to its first name and to the next
/// definition.
fn defined_versions(section: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut at = Some(0_usize);
    std::iter::from_fn(move || {
        let start = at?;
        let definition = section.get(start..start.checked_add(20)?)?;
        let name = start.checked_add(usize::try_from(number(definition, 12, 4)).ok()?)?;
        let next = usize::try_from(number(definition, 16, 4)).ok()?;
        at = if next == 0 { None } else { start.checked_add(next) };
        Some(number(section.get(name..name.checked_add(4)?)?, 0, 4))
    })
}

/// The little-endian number of `size` bytes at `offset`; `bytes` is long enough.
fn number(bytes: &[u8], offset: usize, size: usize) -> u64 {
    bytes[offset..offset + size].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// The zero-terminated text at `offset` of a string table.
fn text(names: &[u8], offset: u64) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(offset).ok()?..)?;
    Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
}
