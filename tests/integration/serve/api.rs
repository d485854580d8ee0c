//! What the routes answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Server, heavy, python, request, words};
use crate::bundle::{Made, open, plain, texts};
use crate::harness::{directory, frosthead, text};
use crate::tiny::NUMBERS;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[test]
fn predictions_are_those_of_the_bundle_to_the_bit() {
    let server = Server::plain(&[]);
    let texts = texts(60);
    let own = open(&plain().bundle);
    let reply = server.post("/v1/predict", &json!({"texts": texts, "probabilities": true}));
    assert_eq!(reply.status, 200);
    let reply_json = reply.json();
    let expected = own.predict(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let results = reply_json["results"].as_array().unwrap();
    assert_eq!(results.len(), 60);
    for (result, expected) in results.iter().zip(&expected) {
        for (head, expected) in own.heads().iter().zip(expected) {
            let task = &result["tasks"][&head.task];
            assert_eq!(task["label"], head.labels[expected.label]);
            assert_eq!(task["probability"].as_f64().unwrap() as f32, expected.probabilities[expected.label]);
            assert_eq!(task["abstained"], false);
            for (label, probability) in head.labels.iter().zip(&expected.probabilities) {
                assert_eq!(task["probabilities"][label].as_f64().unwrap() as f32, *probability);
            }
        }
    }
    // The same text says how much of it was read.
    let reply = server.post("/v1/predict", &json!({"texts": ["word", words(300)]})).json();
    assert_eq!(
        (&reply["results"][0]["tokens"], &reply["results"][0]["truncated"]),
        (&3.into(), &false.into())
    );
    assert_eq!(
        (&reply["results"][1]["tokens"], &reply["results"][1]["truncated"]),
        (&256.into(), &true.into())
    );
    assert!(reply["results"][0]["tasks"]["domain"].get("probabilities").is_none(), "not asked for");
}

#[test]
fn tasks_are_chosen_and_abstain() {
    let server = Server::plain(&["--abstain-below", "1.0"]);
    let ask = |body: Value| server.post("/v1/predict", &body);
    let reply = ask(json!({"texts": ["x"], "tasks": ["sentiment"]})).json();
    let tasks = reply["results"][0]["tasks"].as_object().unwrap();
    assert_eq!(tasks.keys().collect::<Vec<_>>(), ["sentiment"]);
    assert_eq!(
        (&tasks["sentiment"]["label"], &tasks["sentiment"]["abstained"]),
        (&Value::Null, &true.into())
    );
    assert!(tasks["sentiment"]["probability"].as_f64().unwrap() > 0.0);
    let reply = ask(json!({"texts": ["x"], "abstain_below": 0.0})).json();
    assert_eq!(reply["results"][0]["tasks"]["domain"]["abstained"], false, "the request's own threshold");
    let error = ask(json!({"texts": ["x"], "tasks": ["mood"]})).refused(422, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("domain, sentiment"), "{error}");
    ask(json!({"texts": ["x"], "abstain_below": 2})).refused(422, "invalid_request");
    ask(json!({"texts": ["x"], "taks": []})).refused(422, "invalid_request");
    ask(json!({"texts": []})).refused(422, "invalid_request");
    ask(json!({"texts": "x"})).refused(422, "invalid_request");
}

#[test]
fn every_answer_names_its_model() {
    let server = Server::plain(&[]);
    let inspected = frosthead(&["inspect", text(&plain().bundle), "--json"]).success().json();
    let fingerprint = inspected["fingerprint"].as_str().unwrap();
    for path in ["/healthz", "/readyz", "/v1/model", "/metrics", "/openapi.json", "/nothing"] {
        assert_eq!(server.get(path).header("x-frosthead-model"), Some(fingerprint), "{path}");
    }
    let reply = server.post("/v1/predict", &json!({"texts": ["x"]}));
    assert_eq!(reply.header("x-frosthead-model"), Some(fingerprint));
    assert_eq!(reply.json()["model"], fingerprint);
    let card = server.get("/v1/model").json();
    assert_eq!(card["fingerprint"], fingerprint);
    assert_eq!(card["precision"], "fp32");
    assert_eq!(
        (&card["dimensions"], &card["max_tokens"], &card["long_texts"]),
        (&NUMBERS.into(), &256.into(), &"truncate".into())
    );
    assert_eq!(card["tasks"][1], json!({"task": "sentiment", "labels": ["negative", "neutral", "positive"]}));
    assert_eq!(server.get("/readyz").json()["self_test"]["sentences"], 3);
}

#[test]
fn embeddings_have_the_shapes_that_clients_know() {
    let server = Server::plain(&[]);
    let body = json!({"input": ["A short one.", "Another."], "model": "anything", "user": "me"});
    let reply = server.post("/v1/embeddings", &body).json();
    assert_eq!((&reply["object"], reply["data"].as_array().unwrap().len()), (&"list".into(), 2));
    assert_eq!(reply["usage"], json!({"prompt_tokens": 10, "total_tokens": 10}));
    assert_eq!(reply["data"][1]["index"], 1);
    let first = floats(&reply["data"][0]["embedding"]);
    assert_eq!(first.len(), NUMBERS);
    // The embedding that `embed` writes, where it is the imported backbone's.
    let direct = server.post("/embed", &json!({"inputs": "A short one."})).json();
    assert_eq!(floats(&direct[0]), first);
    let length: f32 = first.iter().map(|number| number * number).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    let normal =
        floats(&server.post("/embed", &json!({"inputs": ["A short one."], "normalize": true})).json()[0]);
    assert!(normal.iter().zip(&first).all(|(one, other)| (one - other).abs() < 1e-6));
    let packed =
        server.post("/v1/embeddings", &json!({"input": "A short one.", "encoding_format": "base64"})).json();
    let unpack = "import sys, base64, struct; b = base64.b64decode(sys.argv[1]); print(list(struct.unpack(f'<{len(b)//4}f', b)))";
    let unpacked = python(unpack, &[packed["data"][0]["embedding"].as_str().unwrap()]);
    assert_eq!(floats(&serde_json::from_str(&unpacked).unwrap()), first);
    server.post("/v1/embeddings", &json!({"input": "x", "dimensions": NUMBERS})).json()["data"][0]
        .as_object()
        .unwrap();
    server.post("/v1/embeddings", &json!({"input": "x", "dimensions": 2})).refused(422, "invalid_request");
    server.post("/embed", &json!({"inputs": "x", "dimensions": 2})).refused(422, "invalid_request");
    server.post("/v1/embeddings", &json!({"input": [[1, 2]]})).refused(422, "invalid_request");
}

#[test]
fn requests_in_the_shapes_of_text_embeddings_inference_are_answered() {
    let server = Server::plain(&[]);
    let single = server.post("/predict", &json!({"inputs": "Great phone!"})).json();
    assert_eq!(single.as_array().unwrap().len(), 4, "the first task: {single}");
    assert_eq!(single, server.post("/predict", &json!({"inputs": ["Great phone!"]})).json());
    let scores: Vec<f32> =
        single.as_array().unwrap().iter().map(|answer| answer["score"].as_f64().unwrap() as f32).collect();
    assert!(
        scores.is_sorted_by(|one, other| one >= other) && (scores.iter().sum::<f32>() - 1.0).abs() < 1e-5
    );
    let body = json!({"inputs": [["Great phone!"], ["Never again."]], "task": "sentiment"});
    let batch = server.post("/predict", &body).json();
    assert_eq!((batch.as_array().unwrap().len(), batch[0].as_array().unwrap().len()), (2, 3));
    let raw = server.post("/predict", &json!({"inputs": "Great phone!", "raw_scores": true})).json();
    let own = open(&plain().bundle).predict(&["Great phone!"]).unwrap().remove(0).remove(0);
    assert_eq!(raw[0]["score"].as_f64().unwrap() as f32, own.logits[own.label]);
    let error = server.post("/predict", &json!({"inputs": ["one", "two"]})).refused(422, "invalid_request");
    assert!(error["message"].as_str().unwrap().contains("pair"), "{error}");
    server.post("/predict", &json!({"inputs": "x", "task": "mood"})).refused(422, "invalid_request");
    let long = json!({"inputs": words(300), "truncate": false});
    for route in ["/predict", "/embed"] {
        let error = server.post(route, &long).refused(422, "text_too_long");
        assert_eq!((&error["limit"]["value"], &error["text"]), (&256.into(), &0.into()), "{error}");
        assert_eq!(server.post(route, &json!({"inputs": words(300)})).status, 200);
    }
}

#[test]
fn the_openai_client_works() {
    let server = Server::plain(&[]);
    let script = "import sys, json, array, openai\n\
        client = openai.OpenAI(base_url=f'http://{sys.argv[1]}/v1', api_key='any', max_retries=0)\n\
        packed = client.embeddings.create(model='any', input=['A short one.', 'Another.'])\n\
        plain = client.embeddings.create(model='any', input='A short one.', encoding_format='float')\n\
        assert list(packed.data[0].embedding) == list(array.array('f', plain.data[0].embedding)), 'base64 and float differ'\n\
        try:\n    client.embeddings.create(model='any', input='x', dimensions=7)\n\
        except openai.UnprocessableEntityError as error:\n    message = str(error)\n\
        print(json.dumps([len(packed.data), plain.data[0].embedding, packed.usage.total_tokens, message]))\n";
    let said: Value = serde_json::from_str(&python(script, &[&server.address.to_string()])).unwrap();
    assert_eq!((&said[0], &said[2]), (&2.into(), &10.into()));
    let direct = server.post("/embed", &json!({"inputs": "A short one."})).json();
    assert_eq!(floats(&said[1]), floats(&direct[0]));
    assert!(said[3].as_str().unwrap().contains(&format!("{NUMBERS} dimensions")), "{said}");
}

#[test]
fn long_texts_are_cut_read_in_windows_or_refused() {
    let long = "The plot drags. The jokes fall flat, and nobody laughed. ".repeat(60);
    let body = json!({"texts": ["short", long]});
    let refusing = Server::plain(&["--long", "refuse"]);
    let error = refusing.post("/v1/predict", &body).refused(422, "text_too_long");
    assert_eq!(
        (&error["limit"]["option"], &error["limit"]["value"], &error["text"]),
        (&"--long refuse".into(), &256.into(), &1.into())
    );
    assert_eq!(refusing.post("/v1/predict", &json!({"texts": ["short"]})).status, 200);
    let windows = Server::plain(&["--long", "windows", "--max-tokens", "2000"]);
    let reply = windows.post("/v1/predict", &body).json();
    assert!(reply["results"][1]["tokens"].as_u64().unwrap() > 800, "{reply}");
    assert_eq!(reply["results"][1]["truncated"], false);
    let error = windows.post("/v1/predict", &json!({"texts": [words(3000)]})).refused(422, "text_too_long");
    assert_eq!(error["limit"], json!({"option": "--max-tokens", "value": 2000}));
    // A bundle that was trained on windows reads them by itself, as `predict` does.
    let made = Made::new("served-windows", 200, &["--long", "windows", "--window", "24"]);
    let server = Server::of(&made.bundle, &[]);
    let answers = open(&made.bundle).predict(&["short", &long]).unwrap();
    let reply = server.post("/v1/predict", &body).json();
    for (text, answers) in answers.iter().enumerate() {
        let probability =
            reply["results"][text]["tasks"]["sentiment"]["probability"].as_f64().unwrap() as f32;
        assert_eq!(probability, answers[1].probabilities[answers[1].label]);
    }
    // What each window says is what `explain` says, and it is said where it was asked for.
    assert!(reply["results"][1]["windows"].is_null(), "{reply}");
    let asked = json!({"texts": [long], "windows": true});
    let told = server.post("/v1/predict", &asked).json()["results"][0]["windows"].clone();
    let expected = open(&made.bundle).explain(&long).unwrap();
    assert_eq!(told.as_array().unwrap().len(), expected[1].len());
    assert!(expected[1].len() > 3, "{told}");
    let own = open(&made.bundle);
    for (window, (span, logits)) in told.as_array().unwrap().iter().zip(&expected[1]) {
        assert_eq!((&window["start"], &window["end"]), (&span.bytes.start.into(), &span.bytes.end.into()));
        for (label, logit) in own.heads()[1].labels.iter().zip(logits) {
            assert_eq!(window["tasks"]["sentiment"][label].as_f64().unwrap() as f32, *logit);
        }
    }
    server
        .post("/v1/predict", &json!({"texts": ["a", "b"], "windows": true}))
        .refused(422, "invalid_request");
    let whole = Server::plain(&[]).post("/v1/predict", &json!({"texts": ["a"], "windows": true})).json();
    assert!(whole["results"][0]["windows"].is_null(), "{whole}");
    let cut = Server::of(&made.bundle, &["--long", "truncate"]).post("/v1/predict", &body).json();
    assert_eq!((&cut["results"][1]["tokens"], &cut["results"][1]["truncated"]), (&256.into(), &true.into()));
}

#[test]
fn metrics_count_what_happened() {
    let server = Server::plain(&[]);
    assert_eq!(server.post("/v1/predict", &json!({"texts": ["word", "word word"]})).status, 200);
    server.post("/v1/predict", &json!({})).refused(422, "invalid_request");
    assert_eq!(server.metric("frosthead_texts_total"), 2.0);
    assert_eq!(server.metric("frosthead_tokens_total"), 7.0);
    assert_eq!(server.metric(r#"frosthead_requests_total{route="/v1/predict",status="200"}"#), 1.0);
    assert_eq!(server.metric(r#"frosthead_refusals_total{code="invalid_request"}"#), 1.0);
    assert_eq!(server.metric(r#"frosthead_request_seconds_count{route="/v1/predict"}"#), 2.0);
    assert_eq!(server.metric("frosthead_queue_seconds_count"), 1.0);
    assert_eq!(server.metric("frosthead_batch_texts_sum"), 2.0);
    assert_eq!(server.metric("frosthead_batch_tokens_sum"), 8.0, "two texts padded to four tokens");
    assert!(server.metric("frosthead_batch_seconds_sum") > 0.0);
    assert_eq!(server.metric("frosthead_connections"), 1.0);
    assert_eq!(server.metric("frosthead_queue_texts"), 0.0);
    let resident = server.metric("frosthead_resident_memory_bytes");
    assert!((3e7..2e9).contains(&resident), "{resident}");
}

#[test]
fn metrics_count_how_whole_texts_fit_the_vocabulary() {
    let server = Server::plain(&["--long", "windows"]);
    let is = |name: &str, number: u64| {
        assert_eq!(server.metric(&format!("frosthead_{name}_total")), number as f64, "{name}");
    };
    let counted = |whole, words, pieces, unknown| {
        is("whole_texts", whole);
        is("words", words);
        is("pieces", pieces);
        is("unknown_pieces", unknown);
    };
    let ask = |path: &str, body: Value| assert_eq!(server.post(path, &body).status, 200);
    counted(0, 0, 0, 0);
    ask("/v1/predict", json!({"texts": ["word", "unbelievably  good", "one 𒀀𒀀 two", ""]}));
    let pieces = word_pieces(&["word", "unbelievably", "good", "one", "𒀀𒀀", "two"]);
    assert!(pieces > 6);
    counted(4, 6, pieces, 1);
    // In three windows, in each of which special tokens are.
    ask("/v1/predict", json!({"texts": [words(300)]}));
    counted(5, 306, pieces + 300, 1);
    ask("/v1/embeddings", json!({"input": "word"}));
    counted(6, 307, pieces + 301, 1);
    is("texts", 6);

    // What is cut off has words too, but no pieces: such a text is not counted, nor is one that is refused.
    let server = Server::plain(&["--long", "truncate", "--max-texts", "2"]);
    let metric = |name: &str| server.metric(&format!("frosthead_{name}_total"));
    assert_eq!(server.post("/v1/predict", &json!({"texts": [words(254), words(255)]})).status, 200);
    server.post("/v1/predict", &json!({"texts": ["a", "b", "c"]})).refused(422, "too_many_texts");
    let names = ["texts", "whole_texts", "words", "pieces", "unknown_pieces"];
    assert_eq!(names.map(metric), [2.0, 1.0, 254.0, 254.0, 0.0]);
}

/// How many pieces words have, in the tokenizer of the plain bundle.
fn word_pieces(words: &[&str]) -> u64 {
    let model = crate::bundle::open(&plain().bundle);
    let reader = model.reader(None).unwrap();
    reader.piece_uses(words, 1).unwrap().iter().map(|used| used.pieces).sum()
}

/// Gets a status out of a route, whatever that takes.
fn provoke(described: &str, method: &str, status: u16, servers: &Servers) -> Reply {
    let usual = &servers.usual;
    let known = usual.get("/healthz").header("x-frosthead-model").unwrap().to_owned();
    let route = &described.replace("{model}", if status == 404 { "other" } else { &known });
    let json = ("Content-Type", "application/json");
    let key = ("Authorization", "Bearer k");
    let texts = |texts: Value| match route.as_str() {
        "/v1/predict" => json!({ "texts": texts }),
        "/v1/embeddings" => json!({ "input": texts }),
        "/predict" => {
            json!({"inputs": texts.as_array().unwrap().iter().map(|text| json!([text])).collect::<Vec<_>>()})
        }
        "/embed" => json!({ "inputs": texts }),
        _ => Value::Null,
    };
    let good = if method == "POST" { texts(json!(["x"])).to_string() } else { String::new() };
    let ask = |server: &Server, headers: &[(&str, &str)], body: &str| {
        server.ask(method, route, headers, body.as_bytes())
    };
    match status {
        404 => ask(usual, &[key], ""),
        200 => ask(usual, &[json, key], &good),
        400 => ask(usual, &[json, key], "{"),
        401 => ask(usual, &[json], &good),
        405 => usual.ask("DELETE", route, &[key], b""),
        408 => {
            let whole = request(method, route, &[json, key], good.as_bytes());
            servers.impatient.raw(&whole[..whole.len() - 1])
        }
        413 => ask(usual, &[json, key], &" ".repeat(3000)),
        415 => ask(usual, &[("Content-Type", "text/plain"), key], &good),
        422 => ask(usual, &[json, key], "{}"),
        429 => full(&servers.narrow, &|server| ask(server, &[json], &good)),
        504 => ask(&servers.hurried, &[json], &texts(heavy(16)["texts"].clone()).to_string()),
        _ => panic!("nobody knows how to get {status} out of {route}"),
    }
}

/// A refusal of a server that computes as many texts as may wait, all the time.
fn full(server: &Server, ask: &dyn Fn(&Server) -> Reply) -> Reply {
    let stop = AtomicBool::new(false);
    let full = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                server.post("/v1/predict", &heavy(4));
            }
        });
        let full = (0..5000).map(|_| ask(server)).find(|reply| reply.status == 429);
        stop.store(true, Ordering::Relaxed);
        full
    });
    let full = full.expect("never full");
    assert_eq!(full.header("retry-after"), Some("1"));
    full
}

struct Servers {
    usual: Server,
    impatient: Server,
    narrow: Server,
    hurried: Server,
}

#[test]
fn the_server_does_what_its_description_says() {
    let folder = directory();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "k\n").unwrap();
    let servers = Servers {
        usual: Server::plain(&["--api-keys", text(&keys), "--max-body", "2000"]),
        impatient: Server::plain(&["--read-timeout", "0.5"]),
        narrow: Server::real(&["--queue-texts", "4", "--max-texts", "4"]),
        hurried: Server::real(&["--timeout", "0.001"]),
    };
    let description = servers.usual.ask("GET", "/openapi.json", &[("Authorization", "Bearer k")], b"").json();
    let codes =
        &description["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"];
    let codes: BTreeSet<&str> = codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let mut got: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (route, methods) in description["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            for status in described["responses"].as_object().unwrap().keys() {
                let status = status.parse().unwrap();
                if ["/readyz", "/health"].contains(&route.as_str()) && status == 503 {
                    // `life` has it: a server that ends.
                    continue;
                }
                let reply = provoke(route, &method.to_uppercase(), status, &servers);
                assert_eq!(reply.status, status, "{route}: {}", String::from_utf8_lossy(&reply.body));
                got.entry(route).or_default().insert(status);
                if status != 200 {
                    let code = reply.json()["error"]["code"].as_str().unwrap().to_owned();
                    assert!(codes.contains(code.as_str()), "{code} is not described");
                }
                let media = described["responses"][status.to_string()]["content"].as_object().unwrap();
                let media = media.keys().next().unwrap();
                assert!(reply.header("content-type").unwrap().starts_with(media), "{route} {status}");
                if let Some(required) = described["responses"][status.to_string()]["content"][media]["schema"]
                    ["required"]
                    .as_array()
                {
                    let body = reply.json();
                    assert!(
                        required.iter().all(|name| body.get(name.as_str().unwrap()).is_some()),
                        "{route}: {body}"
                    );
                }
            }
            if method == "post" {
                // The example is answered.
                let example = &described["requestBody"]["content"]["application/json"]["example"];
                let headers = [("Content-Type", "application/json"), ("Authorization", "Bearer k")];
                let reply = servers.usual.ask("POST", route, &headers, example.to_string().as_bytes());
                assert_eq!(reply.status, 200, "{route}");
            }
        }
    }
    assert_eq!(got.len(), 14);
    assert_eq!(got["/v1/predict"].len(), 10);
}
