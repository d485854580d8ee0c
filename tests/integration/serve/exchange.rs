//! Files that are written to in place, slowly, or never to their end, while they are served.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::life::{fingerprint, other, replace, served};
use super::{Server, plain};
use crate::harness::{demo, directory, frosthead, text};

/// What `cp` does: the file is emptied, and then written.
fn overwrite(with: &Path, at: &Path) {
    let status = std::process::Command::new("cp").args([with, at]).status();
    assert!(status.unwrap().success());
}

/// How often something was said.
fn times(server: &mut Server, start: &str) -> usize {
    server.said().iter().filter(|event| event["event"].as_str().unwrap().starts_with(start)).count()
}

#[test]
fn no_answer_is_lost_or_wrong_while_a_bundle_is_written_in_place() {
    let folder = directory();
    let path = folder.path().join("x.frost");
    overwrite(&plain().bundle, &path);
    let mut server = Server::of(&path, &["--copy-to", text(folder.path())]);
    let (one, two) = (text(&plain().bundle), text(&other().bundle));
    let (address, data) = (server.address.to_string(), demo(300));
    let figures: Value = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let arguments =
                ["bench", "serve", text(&data), "--server", &address, "--clients", "4", "--seconds", "12"];
            frosthead(&[&arguments[..], &["--check", one, "--check", two, "--json"]].concat())
                .success()
                .json()
        });
        for turn in 0..4 {
            let before = server.metric("frosthead_texts_total");
            server.until("frosthead_texts_total", |texts| texts > before);
            let new = if turn % 2 == 0 { &other().bundle } else { &plain().bundle };
            overwrite(new, &path);
            assert_eq!(server.wait_for("new bundle")["now"], fingerprint(new).as_str());
        }
        load.join().unwrap()
    });
    assert_eq!(figures["statuses"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200"], "{figures}");
    assert_eq!((&figures["wrong"], &figures["checked"]), (&0.into(), &figures["requests"]), "{figures}");
    // Copies have no names once they are in use.
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x.frost"]);
}

#[test]
fn half_a_bundle_is_not_served_whatever_wrote_it_and_a_whole_one_is() {
    let folder = directory();
    let path = folder.path().join("x.frost");
    overwrite(&plain().bundle, &path);
    let mut server = Server::of(&path, &[]);
    let length = std::fs::metadata(&path).unwrap().len();
    assert_eq!(server.said()[0]["copy_bytes"], length);
    let (first, second) = (fingerprint(&plain().bundle), fingerprint(&other().bundle));
    // Emptied, as `truncate -s 0` does it.
    std::fs::File::create(&path).unwrap();
    server.wait_for("the old bundle stays");
    assert_eq!(served(&server), first);
    server.is_right();
    // Written in ten pieces with rests in which it looks finished: one line, not ten.
    let bytes = std::fs::read(&other().bundle).unwrap();
    let before = times(&mut server, "the old bundle stays");
    let mut file = std::fs::File::create(&path).unwrap();
    for piece in bytes.chunks(bytes.len() / 9) {
        file.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(700));
        server.is_right();
    }
    let whole = Instant::now();
    assert_eq!(server.wait_for("new bundle")["now"], second.as_str());
    assert!(whole.elapsed() < Duration::from_secs(60), "{:?}", whole.elapsed());
    assert_eq!(served(&server), second);
    assert!(times(&mut server, "the old bundle stays") <= before + 2, "{:?}", server.said());
    // One changed byte, in place, with the length and the time that the file had.
    let time = file.metadata().unwrap().modified().unwrap();
    use std::os::unix::fs::FileExt as _;
    file.write_all_at(&[bytes[bytes.len() / 2] ^ 1], bytes.len() as u64 / 2).unwrap();
    file.set_modified(time).unwrap();
    let said = server.wait_for("the old bundle stays");
    assert!(said["error"].as_str().unwrap().contains("damaged"), "{said}");
    assert_eq!(served(&server), second);
    // Another kind of file altogether; and then a good one again, by `mv`.
    std::fs::write(&path, "not a bundle").unwrap();
    server.wait_for("the old bundle stays");
    replace(&plain().bundle, &path);
    assert_eq!(server.wait_for("new bundle")["now"], first.as_str());
    server.is_right();
}

#[test]
fn a_place_for_the_copy_is_chosen_or_named_in_the_error() {
    let nowhere = directory().path().join("nowhere");
    let bundle = text(&plain().bundle);
    let needed = format!("{}M free", std::fs::metadata(&plain().bundle).unwrap().len().div_ceil(1 << 20));
    let failed = frosthead(&["serve", bundle, "--bind", "127.0.0.1:0", "--copy-to", text(&nowhere)]);
    failed.fails_with(&["private copy", text(&nowhere), "--copy-to", &needed]);
    let folder = directory();
    let mut server = Server::plain(&["--copy-to", text(folder.path())]);
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(server.said()[0]["copy_in"], text(&folder));
    assert_eq!(folder.read_dir().unwrap().count(), 0);
    server.is_right();
}

#[test]
fn a_key_file_that_is_half_written_is_not_taken_up() {
    let folder = directory();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "old\n").unwrap();
    let mut server = Server::plain(&["--api-keys", text(&keys)]);
    let may = |server: &Server, key: &str| {
        let header = ("Authorization", format!("Bearer {key}"));
        server.ask("GET", "/v1/model", &[(header.0, &header.1)], b"").status == 200
    };
    let mut file = std::fs::File::create(&keys).unwrap();
    file.write_all(b"new\nsec").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert!(may(&server, "old") && !may(&server, "new") && !may(&server, "sec"));
    file.write_all(b"ret\n").unwrap();
    server.wait_for("new API keys");
    assert!(!may(&server, "old") && may(&server, "new") && may(&server, "secret"));
    // A last line without an end is taken up all the same, later.
    std::fs::write(&keys, "last").unwrap();
    server.wait_for("new API keys");
    assert!(may(&server, "last"));
}

#[test]
fn a_request_keeps_the_model_it_began_with() {
    let folder = directory();
    let path = folder.path().join("x.frost");
    overwrite(&plain().bundle, &path);
    let one_task = folder.path().join("run");
    let data = demo(300);
    let made =
        ["train", text(&data), "--backbone", crate::harness::backbone(), "--task", "sentiment", "--out"];
    frosthead(&[&made[..], &[text(&one_task)]].concat()).success();
    let new = folder.path().join("new.frost");
    frosthead(&["bundle", text(&one_task), "--out", text(&new)]).success();
    let mut server = Server::of(&path, &["--timeout", "600", "--threads", "1", "--queue-tokens", "1000000"]);
    let first = served(&server);
    let body = json!({"texts": vec![super::words(300); 80], "tasks": ["domain"]}).to_string();
    let json = [("Content-Type", "application/json")];
    let mut waiting = server.connect();
    waiting.write_all(&super::request("POST", "/v1/predict", &json, body.as_bytes())).unwrap();
    server.until("frosthead_queue_tokens", |tokens| tokens > 0.0);
    overwrite(&new, &path);
    server.wait_for("new bundle");
    let error = server.post("/v1/predict", &json!({"texts": ["x"], "tasks": ["domain"]}));
    error.refused(422, "invalid_request");
    assert_ne!(served(&server), first);
    let reply = super::read(&mut waiting).unwrap();
    assert_eq!((reply.status, reply.header("x-frosthead-model")), (200, Some(first.as_str())));
    assert!(reply.json()["results"][79]["tasks"]["domain"]["label"].is_string());
}
