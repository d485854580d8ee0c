//! Who may ask, and over what.

use serde_json::json;

use super::{Server, python};
use crate::harness::{demo, directory, frosthead, root, shell, text};

const ROUTES: [(&str, &str); 11] = [
    ("GET", "/"),
    ("POST", "/v1/predict"),
    ("POST", "/v1/embeddings"),
    ("POST", "/predict"),
    ("POST", "/embed"),
    ("GET", "/v1/model"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/x"),
    ("GET", "/info"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

#[test]
fn every_route_but_health_wants_a_key() {
    let folder = directory();
    let keys = folder.path().join("keys");
    // printf %s secret | sha256sum
    std::fs::write(
        &keys,
        "# ours\nopen sesame\nsha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n",
    )
    .unwrap();
    let mut server = Server::plain(&["--api-keys", text(&keys)]);
    let all = ROUTES.iter().copied().chain([("GET", "/nothing"), ("DELETE", "/v1/predict")]);
    for (method, route) in all {
        for header in ["", "Bearer ", "Bearer wrong", "Basic b3BlbiBzZXNhbWU=", "open sesame"] {
            let reply = server.ask(method, route, &[("Authorization", header)], b"{}");
            reply.refused(401, "unauthorized");
            let schemes = reply.headers.iter().filter(|(name, _)| name == "www-authenticate");
            let schemes: Vec<&str> = schemes.map(|(_, scheme)| scheme.split(' ').next().unwrap()).collect();
            // A browser asks for a password when a page is opened, and not behind the back of its script.
            assert_eq!(
                schemes,
                if method == "POST" { &["Bearer"][..] } else { &["Bearer", "Basic"] },
                "{route}"
            );
        }
        // user:open sesame
        for header in ["Bearer open sesame", "Bearer secret", "Basic dXNlcjpvcGVuIHNlc2FtZQ=="] {
            let reply = server.ask(method, route, &[("Authorization", header)], b"{}");
            assert_ne!(reply.status, 401, "{route} with {header}");
        }
    }
    for route in ["/healthz", "/readyz", "/health"] {
        assert_eq!(server.get(route).status, 200);
    }
    let (address, data) = (server.address.to_string(), demo(300));
    let bench = ["bench", "serve", text(&data), "--server", &address, "--seconds", "1", "--json"];
    let statuses =
        |more: &[&str]| frosthead(&[&bench[..], more].concat()).success().json()["statuses"].clone();
    assert!(statuses(&["--key", "secret"])["200"].as_u64().is_some_and(|answered| answered > 0));
    assert!(statuses(&[])["401"].as_u64().is_some_and(|refused| refused > 0));
    // Keys are taken up anew: a broken file leaves the old ones, another one replaces them.
    std::fs::write(&keys, "# none\n").unwrap();
    let said = server.wait_for("the old API keys stay");
    assert!(said["error"].as_str().unwrap().contains("no API key"), "{said}");
    assert_eq!(server.ask("GET", "/v1/model", &[("Authorization", "Bearer open sesame")], b"").status, 200);
    std::fs::write(&keys, "new\n").unwrap();
    server.wait_for("new API keys");
    server
        .ask("GET", "/v1/model", &[("Authorization", "Bearer open sesame")], b"")
        .refused(401, "unauthorized");
    assert_eq!(server.ask("GET", "/v1/model", &[("Authorization", "Bearer new")], b"").status, 200);
    let said = format!("{:?}", server.said());
    assert!(!said.contains("secret") && !said.contains("sesame"), "{said}");
}

#[test]
fn an_open_address_without_keys_is_warned_of() {
    use super::plain;
    let folder = directory();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "k\n").unwrap();
    let mut open = Server::at("0.0.0.0:0", &plain().bundle, &[]);
    let warning = open.wait_for("ANYBODY");
    assert_eq!(warning["level"], "warn");
    let mut unencrypted = Server::at("0.0.0.0:0", &plain().bundle, &["--api-keys", text(&keys)]);
    unencrypted.wait_for("keys and texts travel unencrypted");
    let mut local = Server::plain(&[]);
    local.is_right();
    assert!(local.said().iter().all(|event| event["level"] == "info"), "{:?}", local.said());
}

#[test]
fn a_key_file_that_cannot_be_used_is_an_error() {
    use super::plain;
    let folder = directory();
    let keys = folder.path().join("keys");
    let bundle = text(&plain().bundle);
    frosthead(&["serve", bundle, "--api-keys", text(&keys)]).fails_with(&["keys", "read the API keys"]);
    std::fs::write(&keys, "sha256:abc").unwrap();
    let refused = frosthead(&["serve", bundle, "--api-keys", text(&keys)]);
    let refused = refused.fails_with(&["row 1", "64 hexadecimal digits"]);
    // The advice, followed.
    let line = refused.stderr.split('`').nth(1).unwrap().replace("KEY", "secret");
    shell(&format!("{line} > keys"), folder.path(), &[]);
    let server = Server::at("127.0.0.1:0", &plain().bundle, &["--api-keys", text(&keys)]);
    let ask = |key: &str| {
        server.ask("GET", "/v1/model", &[("Authorization", &format!("Bearer {key}"))], b"").status
    };
    assert_eq!((ask("secret"), ask("KEY")), (200, 401));
}

/// A certificate for 127.0.0.1, its key, and another's.
fn certificate(folder: &std::path::Path, name: &str) -> (String, String) {
    let (chain, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let status = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
        ])
        .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", text(&key), "-out", text(&chain)])
        .stderr(std::process::Stdio::null())
        .status()
        .expect("openssl is missing: the test makes its certificate with it");
    assert!(status.success());
    (text(&chain).to_owned(), text(&key).to_owned())
}

const OVER_TLS: &str = "import sys, ssl, json, http.client\n\
    host, port = sys.argv[1].split(':')\n\
    context = ssl.create_default_context(cafile=sys.argv[2])\n\
    connection = http.client.HTTPSConnection(host, int(port), context=context)\n\
    connection.request('POST', '/v1/predict', json.dumps({'texts': ['Great phone, would buy again!']}), {'Content-Type': 'application/json'})\n\
    print(json.loads(connection.getresponse().read())['results'][0]['tasks']['domain']['label'])\n";

#[test]
fn tls_is_spoken_and_its_certificate_exchanged() {
    use super::plain;
    let folder = directory();
    let (chain, key) = certificate(folder.path(), "one");
    let mut server = Server::plain(&["--tls-cert", &chain, "--tls-key", &key]);
    let address = server.address.to_string();
    assert_eq!(python(OVER_TLS, &[&address, &chain]).trim(), super::rightly());
    // Who does not speak TLS gets nothing, and disturbs nobody.
    use std::io::Write as _;
    let mut plainly = server.connect();
    plainly.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(super::read(&mut plainly).is_none());
    assert_eq!(server.wait_for("refused")["code"], "tls_failed");
    let (other, other_key) = certificate(folder.path(), "two");
    std::fs::rename(&other, &chain).unwrap();
    server.wait_for("the old certificate stays");
    std::fs::rename(&other_key, &key).unwrap();
    server.wait_for("new certificate");
    assert_eq!(python(OVER_TLS, &[&address, &chain]).trim(), super::rightly());
    let bundle = text(&plain().bundle);
    frosthead(&["serve", bundle, "--tls-cert", &chain]).fails_with(&["--tls-key"]);
    let (third, _) = certificate(folder.path(), "three");
    frosthead(&["serve", bundle, "--tls-cert", &third, "--tls-key", &key])
        .fails_with(&["the key of that certificate"]);
    let readme = root().join("README.md");
    frosthead(&["serve", bundle, "--tls-cert", text(&readme), "--tls-key", &key])
        .fails_with(&["README.md", "certificate chain"]);
}

#[test]
fn texts_are_never_logged() {
    let mut server = Server::plain(&["-v"]);
    let secret = "Zanzibar";
    for body in [json!({"texts": [secret]}), json!({"texts": secret}), json!({secret: 1})] {
        server.post("/v1/predict", &body);
    }
    server
        .ask("POST", "/v1/predict", &[("Content-Type", "application/json")], secret.as_bytes())
        .refused(400, "invalid_json");
    server.ask("GET", &format!("/{secret}"), &[], b"").refused(404, "not_found");
    server.ask("GET", "/last", &[], b"");
    let last = server.wait_for("answered");
    assert!(last["milliseconds"].as_f64().unwrap() > 0.0, "{last}");
    server.signal("-TERM");
    server.wait_for("ended");
    let said = format!("{:?}", server.said());
    assert!(!said.contains(secret), "{said}");
    assert!(said.contains("/v1/predict"), "{said}");
}
