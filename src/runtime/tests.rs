//! Tests of loading: devices, one library per process, threads. They need the real library in
//! `.downloads/onnxruntime`.

use super::*;

/// The real ONNX Runtime of the download folder.
pub(super) fn downloaded_library() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".downloads/onnxruntime");
    assert!(folder.is_dir(), "{} is missing: these tests need the real ONNX Runtime there", folder.display());
    folder
}

/// A file of `tests/data`.
pub(super) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(super) fn runtime(threads: usize) -> Runtime {
    let options =
        RuntimeOptions { library: Some(downloaded_library()), device: Device::Cpu, threads: Some(threads) };
    Runtime::load(&options).expect("the downloaded library loads")
}

#[test]
fn a_device_is_read_and_shown() {
    for (text, device) in [("cpu", Device::Cpu), ("cuda", Device::Cuda(0)), ("cuda:3", Device::Cuda(3))] {
        assert_eq!(text.parse::<Device>().unwrap(), device);
        assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
    }
    for text in
        ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda:1:2", "cuda:4294967296"]
    {
        let error = text.parse::<Device>().unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains("cuda:N"), "{error}");
    }
}

#[test]
fn the_library_loads_and_says_what_it_is() {
    let runtime = runtime(2);
    assert_eq!(runtime.version(), "1.32.0");
    assert!(runtime.library().ends_with("libonnxruntime.so.1.32.0"), "{}", runtime.library().display());
    assert!(runtime.providers().contains(&"CPUExecutionProvider".to_owned()));
    assert_eq!((runtime.device(), runtime.threads()), (Device::Cpu, 2));
}

#[test]
fn the_default_number_of_threads_is_the_allowed_cores() {
    let options = RuntimeOptions { library: Some(downloaded_library()), ..RuntimeOptions::default() };
    assert_eq!(Runtime::load(&options).unwrap().threads(), allowed_cores());
}

#[test]
fn zero_threads_are_refused() {
    let options = RuntimeOptions { threads: Some(0), ..RuntimeOptions::default() };
    assert_eq!(Runtime::load(&options).unwrap_err().kind(), Kind::Usage);
}

#[test]
fn the_same_library_loads_again_and_another_one_is_refused() {
    let first = runtime(1);
    let again = RuntimeOptions { library: Some(first.library().to_path_buf()), ..RuntimeOptions::default() };
    assert_eq!(Runtime::load(&again).unwrap().library(), first.library());

    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(first.library(), &copy).unwrap();
    let error = Runtime::load(&RuntimeOptions { library: Some(copy.clone()), ..RuntimeOptions::default() })
        .unwrap_err();
    assert!(error.to_string().contains("already loaded"), "{error}");
    assert!(error.to_string().contains(&first.library().display().to_string()), "{error}");
}

#[test]
fn a_provider_that_the_library_lacks_is_an_error() {
    runtime(1);
    let options = RuntimeOptions {
        library: Some(downloaded_library()),
        device: Device::Cuda(0),
        ..RuntimeOptions::default()
    };
    // The downloaded library is the CPU build.
    let error = Runtime::load(&options).unwrap_err();
    assert_eq!(error.kind(), Kind::Runtime);
    assert!(error.to_string().contains("CUDAExecutionProvider"), "{error}");
    assert!(error.remedy().unwrap().contains("--device cpu"));
}

#[test]
fn a_missing_provider_is_an_error_of_the_session_too() {
    let runtime = runtime(1);
    let graph = fixture("runtime_matmul.onnx");
    let settings = Settings { device: Device::Cuda(0), threads: 1 };
    let error = placement::open(&runtime.environment, &Graph::File(&graph), &settings).unwrap_err();
    assert!(error.to_string().contains("cuda:0"), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}
