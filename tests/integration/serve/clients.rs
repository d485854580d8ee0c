//! What clients of other servers and careful clients send and expect.

use std::io::{Read as _, Write as _};
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, parse, plain, read, request, words};
use crate::bundle::open;
use crate::harness::frosthead;

#[test]
fn what_may_be_left_away_may_be_null_on_every_route() {
    let server = Server::plain(&[]);
    let requests: [(&str, Value, &[&str]); 4] = [
        (
            "/v1/predict",
            json!({"texts": ["x"]}),
            &["tasks", "probabilities", "abstain_below", "top_k", "windows"],
        ),
        ("/v1/embeddings", json!({"input": "x"}), &["encoding_format", "dimensions", "model", "user"]),
        (
            "/predict",
            json!({"inputs": "x"}),
            &["raw_scores", "truncate", "truncation_direction", "task", "top_k"],
        ),
        (
            "/embed",
            json!({"inputs": "x"}),
            &["normalize", "truncate", "truncation_direction", "prompt_name", "dimensions"],
        ),
    ];
    for (route, body, optional) in requests {
        let plainly = server.post(route, &body);
        assert_eq!(plainly.status, 200, "{route}");
        let mut all = body.clone();
        for field in optional {
            let mut one = body.clone();
            one[field] = Value::Null;
            all[field] = Value::Null;
            assert_eq!(server.post(route, &one).json(), plainly.json(), "{route} {field}");
        }
        assert_eq!(server.post(route, &all).json(), plainly.json(), "{route}");
        // What must be there must be there.
        let needed = body.as_object().unwrap().keys().next().unwrap();
        for wrong in [Value::Null, json!(5), json!({}), json!([null]), json!([["a", "b"]]), json!([])] {
            let mut body = body.clone();
            body[needed] = wrong.clone();
            server.post(route, &body).refused(422, "invalid_request");
        }
        let twice = body.to_string().replacen('{', &format!("{{\"{needed}\": \"a\", "), 1);
        let json = [("Content-Type", "application/json")];
        server.ask("POST", route, &json, twice.as_bytes()).refused(422, "invalid_request");
    }
}

#[test]
fn the_most_probable_labels_are_given_and_their_number_is_checked() {
    let server = Server::plain(&[]);
    let text = "Great phone, would buy again!";
    let own = open(&plain().bundle);
    let expected = own.predict(&[text]).unwrap().remove(0);
    for top_k in [1, 2, 3, 100, usize::MAX] {
        let reply = server.post("/v1/predict", &json!({"texts": [text], "top_k": top_k})).json();
        for (head, expected) in own.heads().iter().zip(&expected) {
            let task = &reply["results"][0]["tasks"][&head.task];
            let top = task["top"].as_array().unwrap();
            assert_eq!(top.len(), top_k.min(head.labels.len()));
            assert_eq!(top[0], json!({"label": task["label"], "probability": task["probability"]}));
            let probabilities: Vec<f64> =
                top.iter().map(|shown| shown["probability"].as_f64().unwrap()).collect();
            assert!(probabilities.is_sorted_by(|one, other| one >= other), "{task}");
            let places =
                top.iter().map(|shown| head.labels.iter().position(|label| shown["label"] == **label));
            for (place, probability) in places.zip(&probabilities) {
                assert_eq!(*probability as f32, expected.probabilities[place.unwrap()]);
            }
        }
        let scores = server.post("/predict", &json!({"inputs": text, "top_k": top_k})).json();
        assert_eq!(scores.as_array().unwrap().len(), top_k.min(4));
    }
    for wrong in [json!(0), json!(-1), json!(1.5), json!("2"), json!([1]), json!(true)] {
        for (route, body) in [
            ("/v1/predict", json!({"texts": [text], "top_k": wrong})),
            ("/predict", json!({"inputs": text, "top_k": wrong})),
        ] {
            let refused = server.post(route, &body).refused(422, "invalid_request");
            assert!(refused.to_string().contains("a whole number, 1 or more"), "{refused}");
        }
    }
    let json = [("Content-Type", "application/json")];
    let huge = br#"{"texts": ["x"], "top_k": 99999999999999999999999}"#;
    server.ask("POST", "/v1/predict", &json, huge).refused(422, "invalid_request");
    assert!(
        server.post("/v1/predict", &json!({"texts": [text]})).json()["results"][0]["tasks"]["domain"]
            .get("top")
            .is_none()
    );
    server.post("/v1/predict", &json!({"texts": [text], "tasks": []})).refused(422, "invalid_request");
}

#[test]
fn what_cannot_be_done_as_asked_is_not_done_otherwise() {
    let server = Server::plain(&[]);
    for route in ["/predict", "/embed"] {
        for direction in ["Left", "left", "up"] {
            let body = json!({"inputs": "x", "truncation_direction": direction});
            server.post(route, &body).refused(422, "invalid_request");
        }
        for direction in ["Right", "right"] {
            let body = json!({"inputs": words(300), "truncation_direction": direction, "truncate": true});
            assert_eq!(server.post(route, &body).status, 200);
        }
    }
    server.post("/embed", &json!({"inputs": "x", "prompt_name": "query"})).refused(422, "invalid_request");
    // Another character set would be read as other letters.
    let ask = |content_type: &str| {
        server.ask("POST", "/embed", &[("Content-Type", content_type)], br#"{"inputs": "x"}"#)
    };
    for wrong in ["application/json; charset=iso-8859-1", "application/json;charset=\"UTF-16\"", "text/json"]
    {
        ask(wrong).refused(415, "unsupported_media_type");
    }
    for right in
        ["application/json; charset=UTF-8", "application/json;charset=\"utf-8\"", "application/json;"]
    {
        assert_eq!(ask(right).status, 200, "{right}");
    }
}

#[test]
fn models_are_listed_as_clients_expect() {
    let server = Server::plain(&[]);
    let list = server.get("/v1/models").json();
    let model = &list["data"][0];
    assert_eq!((&list["object"], list["data"].as_array().unwrap().len()), (&"list".into(), 1));
    assert_eq!((&model["object"], &model["owned_by"]), (&"model".into(), &"frosthead".into()));
    let written = std::fs::metadata(&plain().bundle).unwrap().modified().unwrap();
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(model["created"], written);
    let id = model["id"].as_str().unwrap();
    assert_eq!(server.post("/v1/embeddings", &json!({"input": "x", "model": id})).json()["model"], id);
    assert_eq!(server.get(&format!("/v1/models/{id}")).json(), *model);
    assert_eq!(server.ask("HEAD", "/v1/models", &[], b"").status, 200);
    server.get("/v1/models/other").refused(404, "model_not_found");
    // Nobody writes letters of a path as percent signs and digits: such a path is another one.
    for nothing in
        ["/v1/models/", "/v1/models/a/b", "/v1/predict/", "/healthz/", "//healthz", "/v1", "/v1/mod%65ls"]
    {
        server.get(nothing).refused(404, "not_found");
    }
    server.ask("DELETE", &format!("/v1/models/{id}"), &[], b"").refused(405, "method_not_allowed");
    server.ask("OPTIONS", "/v1/predict", &[], b"").refused(405, "method_not_allowed");
    assert_eq!(server.get("/healthz?probe=1").status, 200);
    // As text-embeddings-inference has it.
    let info = server.get("/info").json();
    assert_eq!((&info["model_sha"], &info["model_dtype"]), (&id.into(), &"float32".into()));
    assert_eq!((&info["max_input_length"], &info["max_client_batch_size"]), (&256.into(), &1024.into()));
    assert_eq!((&info["auto_truncate"], &info["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    let labels = &info["model_type"]["classifier"]["id2label"];
    let first = server.post("/predict", &json!({"inputs": "x"})).json()[0]["label"].clone();
    let place = labels.as_object().unwrap().iter().find(|(_, label)| **label == first).unwrap().0;
    let back = &info["model_type"]["classifier"]["label2id"][first.as_str().unwrap()];
    assert_eq!(back.to_string(), *place);
    let health = server.get("/health");
    assert_eq!((health.status, health.json()), (200, server.get("/readyz").json()));
}

#[test]
fn a_request_names_its_host_once() {
    let server = Server::plain(&[]);
    let ask = |version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        server.raw(format!("GET /healthz HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
    };
    for (version, hosts) in [
        ("1.1", &[][..]),
        ("1.1", &["a", "b"]),
        ("1.1", &["a", "a"]),
        ("1.0", &["a", "b"]),
        ("1.1", &["a b"]),
        ("1.1", &["user@a"]),
        ("1.1", &["a/b"]),
        ("1.1", &["a:port"]),
        ("1.0", &["a/b"]),
    ] {
        let said = ask(version, hosts).refused(400, "bad_host");
        assert!(said["message"].as_str().unwrap().contains("host"), "{said}");
    }
    for host in ["x", "x:80", "127.0.0.1:8080", "[::1]:8080", ""] {
        assert_eq!(ask("1.1", &[host]).status, 200, "{host}");
    }
    assert_eq!(ask("1.0", &[]).status, 200);
    // A whole URI names its host too, and does not stand for the header.
    let whole = |host: &str| {
        server.raw(format!("GET http://a/healthz HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes())
    };
    whole("").refused(400, "bad_host");
    assert_eq!(whole("Host: a\r\n").status, 200);
}

#[test]
fn who_asks_before_sending_a_body_is_asked_for_it_only_if_it_is_wanted() {
    let server = Server::plain(&["--max-body", "1000"]);
    let ask = |headers: &str, length: usize| {
        let mut stream = server.connect();
        let head = format!(
            "POST /embed HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; 25];
        stream.read_exact(&mut first).unwrap();
        (stream, first)
    };
    let json = "Content-Type: application/json\r\nConnection: close\r\n";
    let (mut wanted, first) = ask(json, 15);
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    wanted.write_all(br#"{"inputs": "x"}"#).unwrap();
    assert_eq!(read(&mut wanted).unwrap().status, 200);
    for (headers, length, status) in [("", 15, "415"), (json, 5000, "413")] {
        let (mut refused, first) = ask(headers, length);
        let first = String::from_utf8_lossy(&first).into_owned();
        assert!(first.starts_with(&format!("HTTP/1.1 {status}")), "{first}");
        let mut rest = String::new();
        refused.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("}}"), "{rest}");
    }
}

#[test]
fn every_connection_beyond_the_limit_gets_its_whole_answer() {
    let server = Server::plain(&["--max-connections", "2"]);
    let held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    let (clients, body) = (100, " ".repeat(100_000));
    let whole = request("POST", "/v1/predict", &[("Content-Type", "application/json")], body.as_bytes());
    let together = Barrier::new(clients);
    std::thread::scope(|scope| {
        let asks = (0..clients).map(|_| {
            scope.spawn(|| {
                together.wait();
                let mut stream = server.connect();
                // All of it, before anything is read: a connection that is reset meanwhile loses its answer.
                stream.write_all(&whole).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).unwrap();
                let reply = parse(&bytes).unwrap();
                let error = reply.refused(503, "too_many_connections");
                assert_eq!(error["limit"]["value"], 2);
                assert_eq!(reply.header("content-length"), Some(&*reply.body.len().to_string()));
            })
        });
        asks.collect::<Vec<_>>().into_iter().for_each(|ask| ask.join().unwrap());
    });
    drop(held);
}

#[test]
fn a_refusal_is_read_whole_by_a_client_that_still_sends() {
    let server = Server::plain(&[]);
    // Headers without end, and what is no request with much behind it.
    let large = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(200_000));
    let nonsense = format!("BREW\r\n\r\n{}", "x".repeat(200_000));
    for (bytes, status, code) in [(large, 431, "headers_too_large"), (nonsense, 400, "bad_http")] {
        for _ in 0..20 {
            let mut stream = server.connect();
            stream.write_all(bytes.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            parse(&answer).unwrap().refused(status, code);
        }
    }
    server.until("frosthead_connections", |open| open == 1.0);
    // The description says so.
    let described = server.get("/openapi.json").json()["info"]["description"].as_str().unwrap().to_owned();
    assert!(described.contains("bad_host") && described.contains("null"), "{described}");
    frosthead(&["serve", "--help"]).success();
}
