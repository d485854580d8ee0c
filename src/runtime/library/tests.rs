//! Tests of the search, on made-up places and on damaged copies of the real library; the process's
//! environment is not touched.

use super::*;
use crate::runtime::tests::downloaded_library;

const NAME: &str = "libonnxruntime.so.1.32.0";

fn real() -> PathBuf {
    downloaded_library().join(NAME)
}

fn place(origin: Origin, path: impl Into<PathBuf>) -> Place {
    Place { origin, path: path.into() }
}

/// The message for one explicitly given file.
fn refusal(path: &Path) -> String {
    let error = first_usable(&[place(Origin::Option, path)]).unwrap_err();
    assert_eq!(error.kind(), Kind::Runtime);
    assert!(error.remedy().unwrap().contains("ORT_DYLIB_PATH"), "{error}");
    let message = error.to_string();
    assert!(
        message.contains(&path.display().to_string()) && message.contains("given as an option"),
        "{message}"
    );
    message
}

/// A file of these bytes in a folder of its own.
fn library_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let mut bytes = std::fs::read(real()).unwrap();
    change(&mut bytes);
    library_of(&bytes)
}

/// Overwrites every occurrence of `from` with the equally long `to`.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

#[test]
fn the_real_library_is_accepted_by_file_and_by_folder_with_its_version() {
    for path in [real(), downloaded_library(), downloaded_library().join("..").join("onnxruntime")] {
        let library = first_usable(&[place(Origin::Option, path)]).unwrap();
        assert_eq!(library.path, real().canonicalize().unwrap());
        assert_eq!(library.version.as_deref(), Some("1.32.0"));
    }
}

#[test]
fn the_version_is_read_from_inside_not_from_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1.2.3");
    std::fs::copy(real(), &path).unwrap();
    assert_eq!(inspect(&path).unwrap().version.as_deref(), Some("1.32.0"));
}

#[test]
fn archives_and_python_packages_are_found_by_their_folder() {
    for inner in ["lib", "capi"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(inner)).unwrap();
        let file = folder.path().join(inner).join(NAME);
        std::fs::copy(real(), &file).unwrap();
        let library = first_usable(&[place(Origin::Option, folder.path())]).unwrap();
        assert_eq!(library.path, file.canonicalize().unwrap());
    }
}

#[test]
fn a_missing_file_is_refused() {
    assert!(refusal(Path::new("no/such/libonnxruntime.so")).contains("not there"));
}

#[test]
fn a_folder_without_the_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libonnxruntime_providers_shared.so"), "").unwrap();
    assert!(refusal(folder.path()).contains("holds no libonnxruntime.so"));
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let (_folder, path) = library_of(b"#!/bin/sh\necho hello\n");
    assert!(refusal(&path).contains("no ELF header"));
}

#[test]
fn an_empty_file_is_refused() {
    let (_folder, path) = library_of(b"");
    assert!(refusal(&path).contains("0 bytes"));
}

#[test]
fn a_cut_off_library_is_refused() {
    let (_folder, path) = changed(|bytes| bytes.truncate(1 << 20));
    assert!(refusal(&path).contains("cut off"));
    let (_folder, path) = changed(|bytes| bytes.truncate(40));
    assert!(refusal(&path).contains("cut off"));
}

#[test]
fn a_library_for_another_processor_is_refused_with_both() {
    let (other, other_name, own_name) =
        if cfg!(target_arch = "aarch64") { (62, "x86-64", "AArch64") } else { (183, "AArch64", "x86-64") };
    // e_machine 8 is MIPS, which is not among the known ones.
    for (machine, name) in [(other, other_name), (8, "other (ELF machine 8)")] {
        let (_folder, path) = changed(|bytes| bytes[18] = machine);
        let message = refusal(&path);
        let expected = format!("a library for {name} processors, this program is for {own_name}");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_library_of_another_word_size_is_refused() {
    let (_folder, path) = changed(|bytes| bytes[4] = 1);
    assert!(refusal(&path).contains("32-bit"));
}

#[test]
fn a_big_endian_library_is_refused() {
    let (_folder, path) = changed(|bytes| bytes[5] = 2);
    assert!(refusal(&path).contains("big-endian"));
}

#[test]
fn a_program_is_refused() {
    // e_type 2 is a program.
    let (_folder, path) = changed(|bytes| bytes[16] = 2);
    assert!(refusal(&path).contains("not a shared library"));
}

#[test]
fn another_library_is_refused() {
    let shared = downloaded_library().join("libonnxruntime_providers_shared.so");
    assert!(refusal(&shared).contains("does not export OrtGetApiBase"));
}

#[test]
fn a_damaged_section_table_is_refused_not_followed() {
    for (offset, value) in [(40, 0xff), (47, 0x7f), (58, 0)] {
        let (_folder, path) = changed(|bytes| bytes[offset] = value);
        refusal(&path);
    }
}

#[test]
fn a_library_that_is_too_old_is_refused_with_both_versions() {
    let (_folder, path) = changed(|bytes| replace(bytes, b"VERS_1.32.0\0", b"VERS_1.24.9\0"));
    let message = refusal(&path);
    assert!(message.contains("version 1.24.9 is too old, 1.25 is the oldest"), "{message}");
}

#[test]
fn recent_enough_versions() {
    for (version, enough) in [
        ("1.25.0", true),
        ("1.24.2", false),
        ("1.9", false),
        ("1.100.0", true),
        ("2.0.0", true),
        ("0.99", false),
    ] {
        assert_eq!(is_recent_enough(version), enough, "{version}");
    }
}

#[test]
fn file_names_are_told_apart() {
    assert_eq!(version_in_name("libonnxruntime.so"), Some(vec![]));
    assert_eq!(version_in_name("libonnxruntime.so.1"), Some(vec![1]));
    assert_eq!(version_in_name(NAME), Some(vec![1, 32, 0]));
    for name in [
        "libonnxruntime_providers_shared.so",
        "libonnxruntime.so.1.bak",
        "libonnxruntime.sow",
        "onnxruntime.so",
    ] {
        assert_eq!(version_in_name(name), None, "{name}");
    }
}

#[test]
fn the_plain_name_comes_first_and_then_the_newest_version() {
    let folder = tempfile::tempdir().unwrap();
    let names =
        ["libonnxruntime.so", "libonnxruntime.so.1.100.0", "libonnxruntime.so.1.32.0", "libonnxruntime.so.1"];
    for name in names {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let found = files_at(folder.path()).unwrap();
    assert_eq!(found, names.map(|name| folder.path().join(name)));
}

#[test]
fn a_place_that_the_user_named_is_the_only_one() {
    let mut surroundings = Surroundings {
        option: Some(Path::new("/option")),
        variable: Some(OsStr::new("/variable")),
        executable: Some(Path::new("/opt/bin/frosthead")),
        system: &["/usr/lib"],
        ..Surroundings::default()
    };
    assert_eq!(places(&surroundings), [place(Origin::Option, "/option")]);
    surroundings.option = None;
    assert_eq!(places(&surroundings), [place(Origin::Variable, "/variable")]);
    surroundings.variable = Some(OsStr::new(""));
    assert!(places(&surroundings).len() > 1);
}

#[test]
fn the_search_goes_from_the_executable_over_the_downloads_to_the_system() {
    let surroundings = Surroundings {
        executable: Some(Path::new("/p/target/bin/frosthead")),
        working_directory: Some(Path::new("/p")),
        library_path: Some(OsStr::new("/cuda/lib::/more")),
        system: &["/usr/lib"],
        ..Surroundings::default()
    };
    let expected = [
        (Origin::Executable, "/p/target/bin"),
        (Origin::Executable, "/p/target/lib/frosthead"),
        (Origin::Executable, "/p/target/lib"),
        (Origin::Downloads, "/p/.downloads/onnxruntime"),
        (Origin::Downloads, "/p/target/bin/.downloads/onnxruntime"),
        (Origin::Downloads, "/p/target/.downloads/onnxruntime"),
        (Origin::Downloads, "/.downloads/onnxruntime"),
        (Origin::System, "/cuda/lib"),
        (Origin::System, "/more"),
        (Origin::System, "/usr/lib"),
    ];
    assert_eq!(places(&surroundings), expected.map(|(origin, path)| place(origin, path)));
}

#[test]
fn a_bad_library_on_the_way_is_passed_over_unless_it_was_named() {
    let (_folder, old) = library_of(b"junk");
    let library = first_usable(&[place(Origin::System, &old), place(Origin::System, real())]).unwrap();
    assert_eq!(library.path, real().canonicalize().unwrap());
}

#[test]
fn a_search_in_vain_tells_every_place() {
    let (_folder, junk) = library_of(b"junk");
    let error =
        first_usable(&[place(Origin::Executable, "/no/bin"), place(Origin::System, &junk)]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("no usable ONNX Runtime"), "{message}");
    assert!(message.contains("/no/bin (beside the executable): not there"), "{message}");
    assert!(message.contains(&format!("{} (system): not a shared library", junk.display())), "{message}");
    assert!(error.remedy().unwrap().contains("onnxruntime-gpu"));
}
