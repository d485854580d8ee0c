//! Owns the search for the ONNX Runtime library: which places are looked at, in which order, and what was
//! found there.
//!
//! Refuses to load anything and to guess: a place that the user named is used or is an error, and every
//! rejected file is remembered with its reason, so that the final message tells the whole search.

mod binary;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// The environment variable that names the library (the one `ort` uses too).
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Oldest usable minor version of ONNX Runtime 1.x, the one whose API `ort` is built for: 1.24 reads our
/// attention's row lengths and pays no heed to them (embeddings off by 0.04), 1.25 does.
const OLDEST_MINOR: u32 = ort::MINOR_VERSION;

const REMEDY: &str = "install ONNX Runtime 1.25 or newer (for example the file libonnxruntime.so.* of the PyPI package \
     `onnxruntime`, or of `onnxruntime-gpu` for CUDA) and name it with --onnxruntime FILE or in ORT_DYLIB_PATH, or put it \
     beside the executable or into .downloads/onnxruntime/";

/// A library file that passed the inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Library {
    /// The real path (symbolic links resolved): ONNX Runtime looks for its provider libraries beside it.
    pub path: PathBuf,
    /// `1.32.0`, when the file says so.
    pub version: Option<String>,
}

/// Why a place is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    Executable,
    Downloads,
    System,
}

impl Origin {
    /// The user named this very place: what is there must be usable.
    fn is_explicit(self) -> bool {
        matches!(self, Self::Option | Self::Variable)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Option => "given as an option",
            Self::Variable => "given in ORT_DYLIB_PATH",
            Self::Executable => "beside the executable",
            Self::Downloads => "download folder",
            Self::System => "system",
        })
    }
}

/// A file or directory to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    origin: Origin,
    path: PathBuf,
}

/// What the search depends on, so that tests need not touch the process.
#[derive(Debug, Default)]
struct Surroundings<'a> {
    option: Option<&'a Path>,
    variable: Option<&'a OsStr>,
    executable: Option<&'a Path>,
    working_directory: Option<&'a Path>,
    /// `LD_LIBRARY_PATH` (`PATH` on Windows, `DYLD_LIBRARY_PATH` on macOS).
    library_path: Option<&'a OsStr>,
    system: &'a [&'a str],
}

/// Finds the library for this process.
///
/// # Errors
/// Nothing usable was found, or the place that `option` or `ORT_DYLIB_PATH` names is not usable.
pub(super) fn find(option: Option<&Path>) -> Result<Library> {
    let variable = std::env::var_os(VARIABLE);
    let library_path = std::env::var_os(LIBRARY_PATH);
    let executable = std::env::current_exe().ok();
    let working_directory = std::env::current_dir().ok();
    first_usable(&places(&Surroundings {
        option,
        variable: variable.as_deref(),
        executable: executable.as_deref(),
        working_directory: working_directory.as_deref(),
        library_path: library_path.as_deref(),
        system: SYSTEM,
    }))
}

#[cfg(target_os = "windows")]
const LIBRARY_PATH: &str = "PATH";
#[cfg(target_os = "macos")]
const LIBRARY_PATH: &str = "DYLD_LIBRARY_PATH";
#[cfg(not(any(target_os = "windows", target_os = "macos")))]
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

#[cfg(target_os = "windows")]
const SYSTEM: &[&str] = &[];
#[cfg(target_os = "macos")]
const SYSTEM: &[&str] = &["/usr/local/lib", "/opt/homebrew/lib"];
#[cfg(all(target_arch = "x86_64", not(any(target_os = "windows", target_os = "macos"))))]
const SYSTEM: &[&str] = &[
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
];
#[cfg(all(target_arch = "aarch64", not(any(target_os = "windows", target_os = "macos"))))]
const SYSTEM: &[&str] = &[
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib/aarch64-linux-gnu",
];
#[cfg(not(any(
    target_os = "windows",
    target_os = "macos",
    target_arch = "x86_64",
    target_arch = "aarch64"
)))]
const SYSTEM: &[&str] = &["/usr/local/lib", "/usr/lib"];

/// Where to look, best first. A place that the user named is the only one.
fn places(surroundings: &Surroundings<'_>) -> Vec<Place> {
    let place = |origin, path: &Path| Place { origin, path: path.to_path_buf() };
    if let Some(path) = surroundings.option {
        return vec![place(Origin::Option, path)];
    }
    if let Some(path) = surroundings.variable.filter(|value| !value.is_empty()) {
        return vec![place(Origin::Variable, Path::new(path))];
    }
    let mut places = Vec::new();
    if let Some(folder) = surroundings.executable.and_then(Path::parent) {
        places.push(place(Origin::Executable, folder));
        // A package's own copy before one that others installed: it is the version that was tested.
        for name in ["lib/frosthead", "lib"] {
            places.extend(folder.parent().map(|above| place(Origin::Executable, &above.join(name))));
        }
    }
    let above_executable =
        surroundings.executable.into_iter().flat_map(|executable| executable.ancestors().skip(1));
    for folder in surroundings.working_directory.into_iter().chain(above_executable) {
        let downloads = place(Origin::Downloads, &folder.join(".downloads").join("onnxruntime"));
        if !places.contains(&downloads) {
            places.push(downloads);
        }
    }
    let listed = surroundings.library_path.into_iter().flat_map(std::env::split_paths);
    for folder in listed.chain(surroundings.system.iter().map(PathBuf::from)) {
        if !folder.as_os_str().is_empty() {
            places.push(place(Origin::System, &folder));
        }
    }
    places
}

/// The first usable library in `places`.
fn first_usable(places: &[Place]) -> Result<Library> {
    let mut tried = Vec::new();
    for place in places {
        let files = match files_at(&place.path) {
            Ok(files) => files,
            Err(reason) => {
                tried.push(format!("{} ({}): {reason}", place.path.display(), place.origin));
                continue;
            }
        };
        for file in files {
            match inspect(&file) {
                Ok(library) => return Ok(library),
                Err(reason) => tried.push(format!("{} ({}): {reason}", file.display(), place.origin)),
            }
        }
    }
    let explicit = places.iter().any(|place| place.origin.is_explicit());
    let message = if explicit {
        "the ONNX Runtime library that was named cannot be used"
    } else {
        "no usable ONNX Runtime library was found"
    };
    Err(Error::new(Kind::Runtime, format!("{message}; tried:\n  {}", tried.join("\n  "))).help(REMEDY))
}

/// The library files that `place` stands for: itself, or those in the directory, best first.
fn files_at(place: &Path) -> Result<Vec<PathBuf>, String> {
    let metadata = std::fs::metadata(place).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "not there".to_owned(),
        _ => error.to_string(),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![place.to_path_buf()]);
    }
    // Release archives keep it in `lib`, Python packages in `capi`.
    for folder in [place.to_path_buf(), place.join("lib"), place.join("capi")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut found: Vec<(Vec<u32>, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((version_in_name(path.file_name()?.to_str()?)?, path))
            })
            .collect();
        // The plain name is the administrator's choice among several versions; after it, the newest.
        found.sort_by_key(|(version, _)| (!version.is_empty(), std::cmp::Reverse(version.clone())));
        if !found.is_empty() {
            return Ok(found.into_iter().map(|(_, path)| path).collect());
        }
    }
    Err(format!("holds no {}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// The version numbers in a library's file name (none for the plain name); `None`: not an ONNX Runtime
/// library.
fn version_in_name(name: &str) -> Option<Vec<u32>> {
    let rest = name.strip_prefix(std::env::consts::DLL_PREFIX)?.strip_prefix("onnxruntime")?;
    let version = if cfg!(target_os = "macos") || cfg!(target_os = "windows") {
        rest.strip_suffix(std::env::consts::DLL_SUFFIX)?
    } else {
        rest.strip_prefix(std::env::consts::DLL_SUFFIX)?
    };
    let numbers = version.split('.').skip(1).map(|part| part.parse().ok());
    if version.is_empty() || version.starts_with('.') { numbers.collect() } else { None }
}

/// Reads what the file says about itself, without running any of its code; `Err` is the reason it cannot be
/// used.
fn inspect(file: &Path) -> Result<Library, String> {
    let path = file.canonicalize().map_err(|error| error.to_string())?;
    let version = binary::inspect(&path)?.or_else(|| name_version(&path));
    if let Some(found) = &version
        && !is_recent_enough(found)
    {
        return Err(format!("version {found} is too old, 1.{OLDEST_MINOR} is the oldest that works"));
    }
    Ok(Library { path, version })
}

/// `1.32.0` out of `libonnxruntime.so.1.32.0`, for formats that do not carry the version inside.
fn name_version(path: &Path) -> Option<String> {
    let numbers = version_in_name(path.file_name()?.to_str()?)?;
    let text: Vec<String> = numbers.iter().map(u32::to_string).collect();
    (numbers.len() >= 2).then(|| text.join("."))
}

fn is_recent_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    match (numbers.next(), numbers.next()) {
        (Some(1), minor) => minor.unwrap_or(0) >= OLDEST_MINOR,
        (major, _) => major > Some(1),
    }
}

#[cfg(test)]
mod tests;
