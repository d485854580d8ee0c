//! What nobody should send.

use std::io::Write as _;
use std::net::Shutdown;

use serde_json::json;

use super::{Reply, Server, parse, read, request};

/// A seeded source of numbers (PCG's multiplier and increment).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// A request that is wrong in some way.
fn malformed(random: &mut Random) -> Vec<u8> {
    let routes = ["/v1/predict", "/v1/embeddings", "/predict", "/embed"];
    let route = routes[random.below(4)];
    let good = json!({"texts": ["a b c"], "input": "a", "inputs": "a"}).to_string();
    let json = [("Content-Type", "application/json")];
    let mut bytes = match random.below(12) {
        0 => request("POST", route, &json, format!("{}1{}", "[".repeat(500), "]".repeat(500)).as_bytes()),
        1 => request("POST", route, &json, &[b"{\"inputs\": \"", &[0xff, 0xfe, 0xc0][..], b"\"}"].concat()),
        2 => request("POST", route, &json, br#"{"texts": ["\ud800"], "input": "\ud800", "inputs": "\udfff"}"#),
        3 => request("POST", route, &json, &good.as_bytes()[..random.below(good.len())]),
        4 => request("POST", route, &[("X-Large", &"x".repeat(20_000))], good.as_bytes()),
        5 => request("POST", route, &vec![("X-Many", "1"); 200], good.as_bytes()),
        6 => request(["GET", "BREW", "", "POST\0"][random.below(4)], route, &json, good.as_bytes()),
        7 => request("POST", ["/", "//", "*", "/../etc", "/%00", "http://x/", "/v1/predict?x"][random.below(7)], &json, b"{}"),
        8 => {
            let length = ["-1", "99999999999999999999", "1e3", "0x10", ""][random.below(5)];
            format!("POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{good}").into_bytes()
        }
        9 => format!("POST {route} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Type: application/json\r\n\r\nzz\r\n{good}\r\n0\r\n\r\n").into_bytes(),
        10 => (0..random.below(400)).map(|_| random.below(256) as u8).collect(),
        _ => request("POST", route, &json, good.as_bytes()),
    };
    // Some bytes are others, or missing.
    for _ in 0..1 + random.below(4) {
        if !bytes.is_empty() {
            let place = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[place] = random.below(256) as u8,
                1 => bytes.truncate(place),
                _ => drop(bytes.remove(place)),
            }
        }
    }
    bytes
}

#[test]
fn ten_thousand_malformed_requests_disturb_nobody() {
    let server = Server::plain(&["--max-body", "5000"]);
    let mut random = Random(20_261_126);
    let mut answered = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..10_000 {
        let bytes = malformed(&mut random);
        let mut stream = server.connect();
        // A server that refuses early need not read to the end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        if let Some(reply) = read(&mut stream) {
            assert!(reply.header("x-frosthead-model").is_some(), "{reply:?}");
            // A client that is reset may have lost the end.
            let whole = reply.header("content-length") == Some(&reply.body.len().to_string());
            assert!(reply.status == 200 || !whole || reply.json()["error"]["code"].is_string(), "{reply:?}");
            *answered.entry(reply.status).or_default() += 1;
        }
    }
    server.is_right();
    let known = [200, 400, 404, 405, 413, 415, 422, 431];
    assert!(answered.keys().all(|status| known.contains(status)), "{answered:?}");
    for status in [400, 404, 405, 415, 422, 431] {
        assert!(answered.contains_key(&status), "{answered:?}");
    }
    assert_eq!(server.metric("frosthead_queue_texts"), 0.0);
    assert_eq!(server.metric("frosthead_connections"), 1.0);
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="failed"}"#), 0.0);
}

#[test]
fn bad_json_headers_and_types_are_told_apart() {
    let server = Server::plain(&[]);
    let json = ("Content-Type", "application/json");
    let post = |headers: &[(&str, &str)], body: &[u8]| server.ask("POST", "/v1/predict", headers, body);
    post(&[json], b"{\"texts\": [\"\xff\"]}").refused(400, "invalid_json");
    post(&[json], br#"{"texts": ["\ud800"]}"#).refused(400, "invalid_json");
    post(&[json], b"").refused(400, "invalid_json");
    post(&[json], br#"{"texts": ["a"]} {}"#).refused(400, "invalid_json");
    let deep = format!("{{\"inputs\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    server.ask("POST", "/embed", &[json], deep.as_bytes()).refused(400, "invalid_json");
    post(&[], b"{}").refused(415, "unsupported_media_type");
    post(&[("Content-Type", "application/jsonp")], b"{}").refused(415, "unsupported_media_type");
    post(&[json, ("Content-Encoding", "gzip")], b"{}").refused(415, "unsupported_media_type");
    assert_eq!(
        post(&[("Content-Type", "Application/JSON; charset=utf-8")], br#"{"texts": ["a"]}"#).status,
        200
    );
    let reply = server.ask("GET", "/v1/predict", &[], b"");
    reply.refused(405, "method_not_allowed");
    assert_eq!(reply.header("allow"), Some("POST"));
    server.get("/v2").refused(404, "not_found");
    let head = server.ask("HEAD", "/healthz", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    // Odd, but texts.
    let odd = json!({"texts": ["", " ", "\u{0}", "\u{202e}right to left", "👩‍👩‍👧‍👦", "word".repeat(5000)]});
    assert_eq!(server.post("/v1/predict", &odd).json()["results"].as_array().unwrap().len(), 6);
    server.is_right();
}

#[test]
fn what_is_no_request_is_refused_in_the_shape_of_all_refusals() {
    let server = Server::plain(&[]);
    let fingerprint = server.get("/healthz").header("x-frosthead-model").unwrap().to_owned();
    let refused = |reply: Reply, status: u16, code: &str| {
        let error = reply.refused(status, code);
        assert_eq!(reply.header("x-frosthead-model"), Some(fingerprint.as_str()));
        assert_eq!(reply.header("connection"), Some("close"));
        error["message"].as_str().unwrap().to_owned()
    };
    refused(server.raw(b"BREW\r\n\r\n"), 400, "bad_http");
    let json = ("Content-Type", "application/json");
    let get = |headers: &[(&str, &str)]| server.ask("GET", "/healthz", headers, b"");
    let said = refused(get(&[json, ("X-Large", &"x".repeat(16 << 10))]), 431, "headers_too_large");
    assert!(said.contains("16384 bytes") && said.contains("64"), "{said}");
    assert_eq!(get(&[json, ("X-Large", &"x".repeat(15 << 10))]).status, 200);
    // Three are there already.
    refused(get(&[("X-Many", "1"); 62]), 431, "headers_too_large");
    assert_eq!(get(&[("X-Many", "1"); 61]).status, 200);
    // Behind a good one, on the same connection.
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nBREW\r\n\r\n").unwrap();
    let first = read(&mut stream).unwrap();
    assert_eq!(first.status, 200);
    let length: usize = first.header("content-length").unwrap().parse().unwrap();
    refused(parse(&first.body[length..]).unwrap(), 400, "bad_http");
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="bad_http"}"#), 2.0);
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="headers_too_large"}"#), 2.0);
}
