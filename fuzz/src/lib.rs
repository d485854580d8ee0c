//! Owns what the fuzzed programs have in common: the functions that the tests run too, a limit for memory, and
//! the server that HTTP requests are sent to.

#[path = "../../tests/integration/fuzz/repair.rs"]
pub mod repair;
#[path = "../../tests/integration/fuzz/targets.rs"]
pub mod targets;

mod memory;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use frosthead::internal::serve::{Limits, LogFormat, ServeOptions};
use frosthead::{RuntimeOptions, serve};

/// Runs a target, which may take so much memory and no more.
pub fn run(target: fn(&[u8]), bytes: &[u8]) {
    memory::limited(|| target(bytes));
}

/// The same of requests, sent to a server in this process, so that its code is seen too. It serves the bundle
/// `FROSTHEAD_FUZZ_BUNDLE`.
pub fn run_http(bytes: &[u8]) {
    static STARTED: Once = Once::new();
    STARTED.call_once(start);
    run(targets::http, bytes);
}

fn start() {
    // The port is free again for a moment; nobody else takes it in that time but by great bad luck.
    let bind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let bundle = std::env::var_os("FROSTHEAD_FUZZ_BUNDLE").expect("FROSTHEAD_FUZZ_BUNDLE: a bundle to serve");
    let options = ServeOptions {
        bundle: PathBuf::from(bundle),
        runtime: RuntimeOptions {
            library: Some(root.join(".downloads/onnxruntime")),
            threads: Some(1),
            ..RuntimeOptions::default()
        },
        trust: None,
        tuning: None,
        copy_to: frosthead::internal::bundle::copy_places(None),
        bind,
        api_keys: None,
        tls: None,
        long: None,
        abstain_below: None,
        limits: Limits { max_wait: Duration::ZERO, ..Limits::default() },
        log: LogFormat::Json,
        log_requests: false,
    };
    std::thread::spawn(move || serve(options).expect("the server runs"));
    while std::net::TcpStream::connect(bind).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    targets::SERVER.set((bind, Duration::from_secs(2))).unwrap();
}
