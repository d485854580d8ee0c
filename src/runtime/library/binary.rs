//! Owns the look into a shared library's file: right format, right architecture, ONNX Runtime's entry point,
//! version.
//!
//! Refuses to load or run anything of it: a wrong library must be told from a right one before its code runs.

use std::fs::File;
use std::path::Path;

use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, ET_DYN, Machine, SHN_UNDEF,
    SHT_DYNSYM,
};
use object::read::elf::{FileHeader, Sym as _};
use object::{LittleEndian, ReadCache};

use crate::files::start_of;

/// The one function that every ONNX Runtime library exports.
const ENTRY_POINT: &[u8] = b"OrtGetApiBase";
/// ONNX Runtime's linker script versions its symbols `VERS_1.32.0` (tools `gen_def.py`).
const VERSION_PREFIX: &[u8] = b"VERS_";

/// Processors that ONNX Runtime is built for, and some that a stray library may be for.
const PROCESSORS: [(Machine, &str); 7] = [
    (EM_X86_64, "x86-64"),
    (EM_AARCH64, "AArch64"),
    (EM_ARM, "ARM (32 bits)"),
    (EM_386, "x86 (32 bits)"),
    (EM_RISCV, "RISC-V"),
    (EM_PPC64, "POWER"),
    (EM_S390, "S/390"),
];

/// The processor of this build, if it is known what its libraries say.
const OWN: Option<Machine> = if cfg!(target_arch = "x86_64") {
    Some(EM_X86_64)
} else if cfg!(target_arch = "aarch64") {
    Some(EM_AARCH64)
} else if cfg!(target_arch = "arm") {
    Some(EM_ARM)
} else if cfg!(target_arch = "x86") {
    Some(EM_386)
} else if cfg!(target_arch = "riscv64") {
    Some(EM_RISCV)
} else {
    None
};

/// What is said of a file that ends early.
const CUT_OFF: &str = "cut off: the file is shorter than its own header says";
/// Bytes of an ELF header.
const HEADER: usize = 64;

#[cfg(target_pointer_width = "64")]
type Header = object::elf::FileHeader64<LittleEndian>;
#[cfg(not(target_pointer_width = "64"))]
type Header = object::elf::FileHeader32<LittleEndian>;

/// The version that the file carries, if it carries one; `Err` says why the file cannot be ONNX Runtime for
/// this machine.
pub(super) fn inspect(path: &Path) -> Result<Option<String>, String> {
    let start = start_of(path, HEADER).map_err(|error| error.to_string())?;
    let Some(magic) = start.first_chunk::<4>() else {
        return Err(format!("not a shared library: it has {} bytes", start.len()));
    };
    if cfg!(target_os = "windows") {
        return if start.starts_with(b"MZ") { Ok(None) } else { Err("not a Windows library".into()) };
    }
    if cfg!(target_os = "macos") {
        // 64-bit Mach-O, or a universal file; the loader checks the architecture.
        let known = [0xcf_fa_ed_fe_u32, 0xca_fe_ba_be].contains(&u32::from_be_bytes(*magic));
        return if known { Ok(None) } else { Err("not a macOS library".into()) };
    }
    if magic != b"\x7fELF" {
        return Err("not a shared library (no ELF header)".into());
    }
    if start.len() < HEADER {
        return Err(CUT_OFF.into());
    }
    let bits = if start[4] == 2 { 64 } else { 32 };
    if bits != usize::BITS {
        return Err(format!("a {bits}-bit library, this program is {}-bit", usize::BITS));
    }
    if start[5] != 1 {
        return Err("a big-endian library".into());
    }
    version(File::open(path).map_err(|error| error.to_string())?)
}

/// Checks the header and the entry point, then reads the version of the symbol set.
fn version(file: File) -> Result<Option<String>, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let (data, endian) = (&ReadCache::new(file), LittleEndian);
    let header = Header::parse(data).map_err(|_| CUT_OFF)?;
    if header.e_type(endian) != ET_DYN {
        return Err("an ELF file, but not a shared library".into());
    }
    let found = header.e_machine(endian);
    if let Some(expected) = OWN.filter(|machine| *machine != found) {
        let (found, expected) = (processor(found), processor(expected));
        return Err(format!("a library for {found} processors, this program is for {expected}"));
    }
    if sections_end(header, endian) > length {
        return Err(CUT_OFF.into());
    }
    let damaged = |_| "its section table is damaged".to_owned();
    let sections = header.sections(endian, data).map_err(damaged)?;
    let symbols = sections.symbols(endian, data, SHT_DYNSYM).map_err(damaged)?;
    if symbols.is_empty() {
        return Err("it exports nothing (no dynamic symbols)".into());
    }
    let is_entry_point = |name: object::Result<&[u8]>| name.is_ok_and(|name| name == ENTRY_POINT);
    let mut exports = symbols.iter().filter(|symbol| symbol.st_shndx(endian) != SHN_UNDEF);
    if !exports.any(|symbol| is_entry_point(symbol.name(endian, symbols.strings()))) {
        return Err("not ONNX Runtime: it does not export OrtGetApiBase".into());
    }
    let Some((definitions, names)) = sections.gnu_verdef(endian, data).map_err(damaged)? else {
        return Ok(None);
    };
    let names = sections.strings(endian, data, names).map_err(damaged)?;
    let mut versions = definitions.filter_map(|definition| {
        let name = definition.ok()?.1.next().ok()??.name(endian, names).ok()?;
        String::from_utf8(name.strip_prefix(VERSION_PREFIX)?.to_vec()).ok()
    });
    Ok(versions.next())
}

/// What people call a processor.
fn processor(machine: Machine) -> String {
    let known = PROCESSORS.iter().find(|(known, _)| *known == machine);
    known.map_or_else(|| format!("other (ELF machine {})", machine.0), |(_, name)| (*name).to_owned())
}

/// Where the section table ends.
fn sections_end<H: FileHeader>(header: &H, endian: H::Endian) -> u64 {
    let table = u64::from(header.e_shentsize(endian)) * u64::from(header.e_shnum(endian));
    header.e_shoff(endian).into().saturating_add(table)
}
