//! Starting, ending, and exchanging the bundle.

use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{Server, heavy, plain, read, request};
use crate::bundle::{Made, keys};
use crate::harness::{demo, directory, frosthead, text};

/// Another bundle, which says other things.
pub fn other() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::new("other", 120, &["--alpha", "1"]))
}

pub fn fingerprint(bundle: &Path) -> String {
    frosthead(&["inspect", text(bundle), "--json"]).success().json()["fingerprint"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Puts a file where another is, at once.
pub fn replace(with: &Path, at: &Path) {
    let beside = at.with_extension("new");
    std::fs::copy(with, &beside).unwrap();
    std::fs::rename(beside, at).unwrap();
}

pub fn served(server: &Server) -> String {
    let reply = server.post("/v1/predict", &json!({"texts": ["x"]}));
    assert_eq!(reply.status, 200);
    reply.header("x-frosthead-model").unwrap().to_owned()
}

#[test]
fn what_is_in_flight_is_finished_and_then_it_ends() {
    let mut server = Server::real(&["--grace", "600", "--timeout", "600"]);
    let body = heavy(60).to_string();
    let mut flying = server.connect();
    flying
        .write_all(&request("POST", "/v1/predict", &[("Content-Type", "application/json")], body.as_bytes()))
        .unwrap();
    server.until("frosthead_queue_tokens", |tokens| tokens > 0.0);
    // A request that has begun is in flight too.
    let mut begun = server.connect();
    begun.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut idle = server.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.until(r#"frosthead_requests_total{route="/healthz",status="200"}"#, |answered| answered == 1.0);
    server.signal("-TERM");
    server.wait_for("ending");
    begun.write_all(b"\r\n").unwrap();
    read(&mut begun).unwrap().refused(503, "draining");
    assert_eq!(read(&mut flying).unwrap().status, 200);
    assert_eq!(read(&mut idle).unwrap().status, 200, "and its connection is closed");
    assert_eq!(server.wait(), Some(0));
    server.wait_for("ended");
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn what_does_not_end_within_the_grace_is_cut_off() {
    let mut server = Server::real(&["--grace", "0.3", "--timeout", "600", "--read-timeout", "600"]);
    let mut stuck = server.connect();
    let head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    stuck.write_all(head).unwrap();
    server.until("frosthead_connections", |open| open == 2.0);
    server.signal("-INT");
    assert_eq!(server.wait(), Some(0));
    server.wait_for("ended with requests cut off");
    assert!(read(&mut stuck).is_none());
}

#[test]
fn killed_it_starts_again_at_the_same_place() {
    let mut server = Server::real(&[]);
    let address = server.address.to_string();
    let mut flying = server.connect();
    let body = heavy(60).to_string();
    flying
        .write_all(&request("POST", "/v1/predict", &[("Content-Type", "application/json")], body.as_bytes()))
        .unwrap();
    server.until("frosthead_queue_tokens", |tokens| tokens > 0.0);
    server.signal("-KILL");
    assert_eq!(server.wait(), None);
    assert!(read(&mut flying).is_none());
    let again = Server::real_at(&address, &[]);
    again.is_right();
    frosthead(&["serve", text(&plain().bundle), "--bind", &address]).fails_with(&["cannot listen", &address]);
}

#[test]
fn a_replaced_bundle_is_served_and_a_bad_one_is_not() {
    let folder = directory();
    let path = folder.path().join("x.frost");
    replace(&plain().bundle, &path);
    let (first, second) = (fingerprint(&plain().bundle), fingerprint(&other().bundle));
    assert_ne!(first, second);
    let mut server = Server::of(&path, &[]);
    assert_eq!(served(&server), first);
    replace(&other().bundle, &path);
    assert_eq!(server.wait_for("new bundle")["now"], second.as_str());
    assert_eq!(served(&server), second);
    assert_eq!(server.get("/v1/model").json()["fingerprint"], second.as_str());
    // One that is damaged, and none at all.
    let mut bytes = std::fs::read(&plain().bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder.path().join("damaged.frost");
    std::fs::write(&damaged, bytes).unwrap();
    replace(&damaged, &path);
    let said = server.wait_for("the old bundle stays");
    assert_eq!(said["level"], "error");
    assert_eq!(served(&server), second);
    std::fs::remove_file(&path).unwrap();
    server.wait_for("the old bundle stays");
    assert_eq!(served(&server), second);
    assert_eq!(server.metric(r#"frosthead_model_loads_total{outcome="refused"}"#), 2.0);
    assert_eq!(server.metric(r#"frosthead_model_loads_total{outcome="switched"}"#), 1.0);
}

#[test]
fn sighup_opens_the_bundle_again() {
    let mut server = Server::plain(&[]);
    let before = served(&server);
    server.signal("-HUP");
    server.wait_for("new bundle");
    assert_eq!(served(&server), before);
    server.is_right();
}

#[test]
fn no_answer_is_lost_or_wrong_while_bundles_are_exchanged() {
    let folder = directory();
    let path = folder.path().join("x.frost");
    replace(&plain().bundle, &path);
    let mut server = Server::of(&path, &[]);
    let (one, two) = (text(&plain().bundle), text(&other().bundle));
    let (address, data) = (server.address.to_string(), demo(300));
    let figures: Value = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let arguments =
                ["bench", "serve", text(&data), "--server", &address, "--clients", "8", "--seconds", "12"];
            frosthead(&[&arguments[..], &["--check", one, "--check", two, "--json"]].concat())
                .success()
                .json()
        });
        server_exchanges(&mut server, &path);
        load.join().unwrap()
    });
    assert_eq!(figures["statuses"].as_object().unwrap().keys().collect::<Vec<_>>(), ["200"], "{figures}");
    assert_eq!((&figures["wrong"], &figures["checked"]), (&0.into(), &figures["requests"]), "{figures}");
    let models = figures["models"].as_object().unwrap();
    assert!(
        models.contains_key(&fingerprint(&plain().bundle))
            && models.contains_key(&fingerprint(&other().bundle)),
        "{figures}"
    );
}

#[test]
fn a_wrong_answer_and_a_server_that_is_not_there_are_told() {
    let server = Server::plain(&[]);
    let (address, data) = (server.address.to_string(), demo(300));
    let bench = ["bench", "serve", text(&data), "--server", &address, "--seconds", "1", "--limit", "20"];
    let of_another = frosthead(&[&bench[..], &["--check", text(&other().bundle)]].concat()).exits(1);
    assert!(
        of_another.stdout.contains(" 0 answers, ") && !of_another.stdout.contains(" 0 wrong"),
        "{}",
        of_another.stdout
    );
    drop(server);
    frosthead(&bench).fails_with(&["cannot be reached", &address]);
}

fn server_exchanges(server: &mut Server, path: &Path) {
    for turn in 0..4 {
        // Each has answered before it is exchanged.
        let before = server.metric("frosthead_texts_total");
        server.until("frosthead_texts_total", |texts| texts > before);
        replace(if turn % 2 == 0 { &other().bundle } else { &plain().bundle }, path);
        server.wait_for("new bundle");
    }
}

#[test]
fn an_unsigned_bundle_is_not_served_where_signatures_are_asked_for() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    frosthead(&["serve", text(&plain().bundle), "--trust", key]).fails_with(&["sign"]);
}

#[test]
fn only_what_the_trusted_key_signed_is_served() {
    let folder = directory();
    let ((secret, public), (_, wrong)) = (keys(folder.path(), "own"), keys(folder.path(), "wrong"));
    let sign = |made: &Made, name: &str| {
        let path = folder.path().join(name);
        frosthead(&["bundle", text(&made.run), "--out", text(&path), "--sign", text(&secret)]).success();
        path
    };
    let (path, second) = (sign(plain(), "x.frost"), sign(other(), "y.frost"));
    frosthead(&["serve", text(&path), "--trust", text(&wrong)]).fails_with(&["not signed with this key"]);
    let mut server = Server::of(&path, &["--trust", text(&public)]);
    let (first, later) = (fingerprint(&path), fingerprint(&second));
    assert_eq!(served(&server), first);
    // The signature that lies there is another bundle's.
    replace(&second, &path);
    let said = server.wait_for("the old bundle stays");
    assert!(said["error"].as_str().unwrap().contains("not signed with this key"), "{said}");
    assert_eq!(served(&server), first);
    // Its own arrives.
    replace(&folder.path().join("y.frost.minisig"), &folder.path().join("x.frost.minisig"));
    assert_eq!(server.wait_for("new bundle")["now"], later.as_str());
    assert_eq!(served(&server), later);
    std::fs::remove_file(folder.path().join("x.frost.minisig")).unwrap();
    let said = server.wait_for("the old bundle stays");
    assert!(said["error"].as_str().unwrap().contains("not signed"), "{said}");
    assert_eq!(served(&server), later);
}

#[test]
fn a_log_for_people_says_the_same() {
    let mut command = crate::harness::command(&["serve", text(&plain().bundle), "--bind", "127.0.0.1:0"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    use std::io::BufRead as _;
    let mut line = String::new();
    std::io::BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.starts_with("serving address=\"http://127.0.0.1:"), "{line}");
}
