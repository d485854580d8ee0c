//! How much is taken on, and that nothing else costs anything.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{PATIENCE, Server, heavy, parse, read, request, words};
use crate::bundle::plain;
use crate::harness::{demo, frosthead, text};

#[test]
fn limits_are_named() {
    let server = Server::plain(&["--max-texts", "3", "--max-body", "1000", "--queue-texts", "10"]);
    let error =
        server.post("/v1/predict", &json!({"texts": ["a", "b", "c", "d"]})).refused(422, "too_many_texts");
    assert_eq!(error["limit"], json!({"option": "--max-texts", "value": 3}));
    assert_eq!(server.post("/v1/predict", &json!({"texts": ["a", "b", "c"]})).status, 200);
    let error = server.post("/v1/predict", &json!({"texts": [words(300)]})).refused(413, "body_too_large");
    assert_eq!(error["limit"], json!({"option": "--max-body", "value": 1000}));
    // A body that does not say its length is stopped where it is too long.
    let chunk = format!("{:x}\r\n{}\r\n", 600, " ".repeat(600));
    let head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    server.raw(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes()).refused(413, "body_too_large");
    server.is_right();
}

#[test]
fn bodies_that_never_end_leave_no_room_for_more() {
    let server = Server::plain(&["--max-body", "1000", "--read-timeout", "600"]);
    let json = [("Content-Type", "application/json")];
    let body = json!({"texts": ["x".repeat(100)]}).to_string();
    // 64 bodies of the largest size fit; a byte of each is still to come.
    let held: Vec<_> = (0..64)
        .map(|_| {
            let whole = request("POST", "/v1/predict", &json, &[b' '; 1000]);
            let mut stream = server.connect();
            stream.write_all(&whole[..whole.len() - 1]).unwrap();
            stream
        })
        .collect();
    let ask = || server.ask("POST", "/v1/predict", &json, body.as_bytes());
    // They are read as they come.
    let refused = until(|| Some(ask()).filter(|reply| reply.status == 429));
    let error = refused.refused(429, "bodies_full");
    assert_eq!(error["limit"], json!({"option": "--max-body", "value": 1000}));
    assert_eq!(refused.header("retry-after"), Some("1"));
    // What they took is given back.
    drop(held);
    until(|| Some(ask()).filter(|reply| reply.status == 200));
    server.is_right();
}

#[test]
fn a_network_that_fails_is_a_500_and_the_next_request_is_answered() {
    let mut server = Server::real(&["--token-budget", "65536", "--threads", "1"]);
    server.is_right();
    // No more memory than it has: the small batch has run in it, the intermediate results of a large one do
    // not fit.
    server.limit_memory();
    server.post("/v1/predict", &heavy(100)).refused(500, "failed");
    let said = server.wait_for("the network failed");
    assert_eq!(said["level"], "error");
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="failed"}"#), 1.0);
    assert_eq!(server.metric("frosthead_queue_texts"), 0.0);
    server.is_right();
}

/// Asks until there is an answer.
#[track_caller]
fn until<T>(ask: impl Fn() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "never");
    }
}

#[test]
fn a_queue_of_tokens_is_full_at_once_and_empty_again() {
    let server = Server::real(&["--queue-tokens", "2000", "--timeout", "600"]);
    std::thread::scope(|scope| {
        // Alone, a request may have more tokens than may wait: otherwise it could never be answered.
        let big = scope.spawn(|| server.post("/v1/predict", &heavy(60)));
        server.until("frosthead_queue_tokens", |tokens| tokens == 60.0 * 256.0);
        let error = server.post("/v1/predict", &json!({"texts": [words(300)]})).refused(429, "queue_full");
        assert_eq!(error["limit"], json!({"option": "--queue-tokens", "value": 2000}));
        assert_eq!(big.join().unwrap().status, 200);
    });
    server.until("frosthead_queue_tokens", |tokens| tokens == 0.0);
    server.is_right();
}

#[test]
fn time_that_is_up_frees_the_slot() {
    // One thread, so that no machine is fast enough.
    let server = Server::real(&["--timeout", "3", "--threads", "1"]);
    let texts = 400;
    let error = server.post("/v1/predict", &heavy(texts)).refused(504, "timeout");
    assert!(error["message"].as_str().unwrap().contains("3 s"), "{error}");
    server.is_right();
    assert_eq!(server.metric("frosthead_queue_texts"), 0.0);
    let computed = server.metric("frosthead_batch_texts_sum");
    assert!(computed < texts as f64, "{computed} of {texts} texts were computed for nobody");
}

#[test]
fn a_client_that_goes_away_costs_nothing() {
    let server = Server::real(&[]);
    let whole = request(
        "POST",
        "/v1/predict",
        &[("Content-Type", "application/json")],
        heavy(300).to_string().as_bytes(),
    );
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    // Before a byte, within the headers, behind them, within the body, and while it is computed.
    for sent in [0, 20, head, head + 100] {
        let mut stream = server.connect();
        stream.write_all(&whole[..sent]).unwrap();
    }
    let mut stream = server.connect();
    stream.write_all(&whole).unwrap();
    server.until("frosthead_queue_texts", |texts| texts == 300.0);
    drop(stream);
    server.until("frosthead_queue_texts", |texts| texts == 0.0);
    assert!(server.metric(r#"frosthead_refusals_total{code="client_gone"}"#) >= 1.0);
    // Within the answer: more than fits the buffers of the system.
    let body = json!({"inputs": vec!["word"; 1000]}).to_string();
    let mut stream = server.connect();
    stream
        .write_all(&request("POST", "/embed", &[("Content-Type", "application/json")], body.as_bytes()))
        .unwrap();
    server.until(r#"frosthead_requests_total{route="/embed",status="200"}"#, |answered| answered == 1.0);
    drop(stream);
    server.until("frosthead_connections", |open| open == 1.0);
    server.is_right();
    let computed = server.metric("frosthead_batch_texts_sum");
    assert!(computed < 1300.0, "{computed}: all was computed for nobody");
}

#[test]
fn who_is_slow_is_not_waited_for() {
    let mut server = Server::plain(&["--read-timeout", "0.5"]);
    // Headers that never end, a byte at a time.
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    for byte in b"X-Slow: 1" {
        std::thread::sleep(Duration::from_millis(100));
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
    }
    assert!(read(&mut slow).is_none_or(|reply| reply.status == 408));
    assert_eq!(server.wait_for("refused")["code"], "header_timeout");
    // A connection that says nothing.
    let mut idle = server.connect();
    assert!(read(&mut idle).is_none());
    // A client that never takes its answers: more than fits the buffers of the system.
    let body = json!({"inputs": vec!["word"; 1000]}).to_string();
    let ask = request("POST", "/embed", &[("Content-Type", "application/json")], body.as_bytes());
    let ask = String::from_utf8(ask).unwrap().replace("Connection: close\r\n", "").into_bytes();
    let mut greedy = server.connect();
    greedy.set_write_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..8 {
        if greedy.write_all(&ask).is_err() {
            break;
        }
    }
    server.until("frosthead_connections", |open| open == 1.0);
    server.is_right();
}

#[test]
fn connections_beyond_the_limit_are_turned_away() {
    let server = Server::plain(&["--max-connections", "2"]);
    let held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    // Both have been accepted when the third is.
    let mut third = server.connect();
    let reply = read(&mut third).unwrap();
    let error = reply.refused(503, "too_many_connections");
    assert_eq!(error["limit"], json!({"option": "--max-connections", "value": 2}));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert!(reply.header("x-frosthead-model").is_some());
    drop(held);
    until(|| parse_status(&server).filter(|status| *status == 200));
}

/// The status of `/healthz`, if the connection was not turned away.
fn parse_status(server: &Server) -> Option<u16> {
    use std::io::Read as _;
    let mut stream = server.connect();
    stream.write_all(&request("GET", "/healthz", &[], b"")).ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Some(parse(&bytes)?.status)
}

#[test]
fn options_that_contradict_one_another_are_refused() {
    let bundle = text(&plain().bundle);
    frosthead(&["serve", bundle, "--max-texts", "20", "--queue-texts", "10"])
        .fails_with(&["--max-texts 20", "--queue-texts 10"]);
    for (option, value) in [
        ("--timeout", "0"),
        ("--grace", "x"),
        ("--read-timeout", "0"),
        ("--max-body", "0"),
        ("--abstain-below", "2"),
        ("--log", "xml"),
    ] {
        frosthead(&["serve", bundle, option, value]).fails_with(&[option]);
    }
    frosthead(&["serve", "no.frost"]).fails_with(&["no.frost"]);
    frosthead(&["serve", text(&plain().run)]).fails_with(&[
        "a run directory",
        "bundle it first",
        "frosthead bundle",
    ]);
}

#[test]
fn many_clients_share_batches_within_the_budget() {
    let server = Server::plain(&["--token-budget", "64", "--max-wait", "50"]);
    let data = demo(300);
    let address = server.address.to_string();
    let bundle = text(&plain().bundle);
    let arguments = [
        "bench",
        "serve",
        text(&data),
        "--server",
        &address,
        "--clients",
        "16",
        "--seconds",
        "2",
        "--check",
        bundle,
        "--json",
    ];
    let figures = frosthead(&arguments).success().json();
    let answered = figures["statuses"]["200"].as_u64().unwrap();
    assert_eq!(figures["statuses"].as_object().unwrap().len(), 1, "{figures}");
    assert_eq!((&figures["checked"], &figures["wrong"]), (&answered.into(), &0.into()));
    assert_eq!(figures["accepted"]["calls"], answered);
    assert!(
        figures["cpu_seconds"].as_f64().unwrap() > 0.0 && figures["texts_per_second"].as_f64().unwrap() > 0.0
    );
    assert_eq!(server.metric("frosthead_texts_total"), answered as f64);
    let (batches, texts) =
        (server.metric("frosthead_batch_texts_count"), server.metric("frosthead_batch_texts_sum"));
    assert!(texts > 1.2 * batches, "{texts} texts in {batches} batches");
    let over = server.metric("frosthead_batch_tokens_count")
        - server.metric(r#"frosthead_batch_tokens_bucket{le="256.0"}"#);
    assert_eq!(over, 0.0, "a batch went beyond the budget");
    // An open loop that asks for more than there is room for is refused, not lost.
    let narrow = Server::plain(&["--queue-texts", "2", "--max-texts", "2"]);
    let address = narrow.address.to_string();
    let arguments = [
        "bench",
        "serve",
        text(&data),
        "--server",
        &address,
        "--clients",
        "50",
        "--rate",
        "1500",
        "--seconds",
        "2",
        "--json",
    ];
    let figures = frosthead(&arguments).success().json();
    let statuses = figures["statuses"].as_object().unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), ["200", "429"], "{figures}");
    assert_eq!(figures["refused"]["calls"], statuses["429"]);
    assert!(figures["requests"].as_u64().unwrap() <= 3000);
}

#[test]
fn a_batch_waits_for_a_request_that_is_being_read() {
    // Nothing in it can be cut before it is tokenised, which takes a second.
    let slow = json!({"texts": ["!".repeat(512 << 10)]});
    let quick = json!({"texts": [words(300)]});
    let batches = |max_wait: &str| {
        let server = Server::plain(&["--max-wait", max_wait, "--max-body", "4000000", "--timeout", "600"]);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| server.post("/v1/predict", &slow));
            server.until("frosthead_queue_texts", |texts| texts == 1.0);
            assert_eq!(server.post("/v1/predict", &quick).status, 200);
            assert_eq!(first.join().unwrap().status, 200);
        });
        server.metric("frosthead_batch_texts_count")
    };
    assert_eq!(batches("600000"), 1.0, "both in one");
    assert_eq!(batches("0"), 2.0);
}

#[test]
fn a_low_limit_of_open_files_is_raised() {
    let start = format!(
        "ulimit -Sn 64; exec {} serve {} --bind 127.0.0.1:0",
        env!("CARGO_BIN_EXE_frosthead"),
        text(&plain().bundle)
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &start]).current_dir(crate::harness::root()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split('"').nth(1).unwrap().strip_prefix("http://").unwrap().to_owned();
    let held: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut last = TcpStream::connect(&address).unwrap();
    last.write_all(&request("GET", "/healthz", &[], b"")).unwrap();
    let status = read(&mut last).map(|reply| reply.status);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(status, Some(200), "with {} connections held", held.len());
}
