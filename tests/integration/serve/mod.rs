//! The real server over real sockets.

mod access;
mod api;
mod clients;
mod exchange;
mod hostile;
mod life;
mod limits;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::{domain_of, plain, real_plain};
use crate::harness::{command, root, text};

/// Long enough for a machine that is busy with other tests; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// What tests ask about.
const PHRASE: &str = "Great phone, would buy again!";

/// The domain that the plain bundle finds for it.
fn rightly() -> &'static str {
    static DOMAIN: OnceLock<String> = OnceLock::new();
    DOMAIN.get_or_init(|| domain_of(PHRASE))
}

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Its log, as JSON lines.
    log: Mutex<Receiver<Value>>,
    said: Vec<Value>,
    /// What its network says of [`PHRASE`]; empty where that is what the plain bundle's does.
    domain: &'static str,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Server {
    /// Starts a server of a bundle on a port of its own.
    pub fn of(bundle: &Path, arguments: &[&str]) -> Self {
        Self::at("127.0.0.1:0", bundle, arguments)
    }

    pub fn at(address: &str, bundle: &Path, arguments: &[&str]) -> Self {
        Self::start(command(&Self::arguments(address, bundle, arguments)))
    }

    /// One whose user's configuration lies there.
    pub fn configured(config: &Path, bundle: &Path) -> Self {
        let mut command = command(&Self::arguments("127.0.0.1:0", bundle, &[]));
        command.env("FROSTHEAD_CONFIG", config);
        Self::start(command)
    }

    fn arguments<'a>(address: &'a str, bundle: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
        [&["serve", text(bundle), "--bind", address, "--log", "json"], more].concat()
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let line = line.unwrap();
                let event = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "event": line }));
                if lines.send(event).is_err() {
                    break;
                }
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self { child, address: unknown, log: Mutex::new(log), said: Vec::new(), domain: "" };
        let serving = server.wait_for("serving");
        let address = serving["address"].as_str().unwrap();
        server.address = address.rsplit_once('/').unwrap().1.parse().unwrap();
        server
    }

    /// The plain bundle.
    pub fn plain(arguments: &[&str]) -> Self {
        Self::of(&plain().bundle, arguments)
    }

    /// The real network: slow enough to be interrupted at its work.
    pub fn real(arguments: &[&str]) -> Self {
        Self::real_at("127.0.0.1:0", arguments)
    }

    pub fn real_at(address: &str, arguments: &[&str]) -> Self {
        let mut server = Self::at(address, &real_plain().bundle, arguments);
        server.domain = "product_review";
        server
    }

    /// The next event that starts so.
    #[track_caller]
    pub fn wait_for(&mut self, start: &str) -> Value {
        loop {
            let event = self.log.get_mut().unwrap().recv_timeout(PATIENCE);
            let event =
                event.unwrap_or_else(|_| panic!("the server never said {start:?}, but {:?}", self.said));
            self.said.push(event.clone());
            if event["event"].as_str().unwrap().starts_with(start) {
                return event;
            }
        }
    }

    /// Everything it has said so far.
    pub fn said(&mut self) -> &[Value] {
        self.said.extend(self.log.get_mut().unwrap().try_iter());
        &self.said
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes over a connection of its own, and reads the answer.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read(&mut stream).expect("no answer")
    }

    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.raw(&request(method, path, headers, body))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// Posts JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// The value of a metric, by the start of its line; 0 when it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Waits until a metric is what it should be.
    #[track_caller]
    pub fn until(&self, name: &str, wanted: impl Fn(f64) -> bool) {
        let start = std::time::Instant::now();
        while !wanted(self.metric(name)) {
            assert!(start.elapsed() < PATIENCE, "{name} stays {}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, name: &str) {
        let status = std::process::Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Takes the process the right to any memory beyond what it has and some small things (prlimit is
    /// util-linux's).
    pub fn limit_memory(&self) {
        let pid = self.child.id().to_string();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kibibytes: u64 = size.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        let limit = format!("--as={}", (kibibytes << 10) + (16 << 20));
        assert!(
            std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success()
        );
    }

    /// Waits for its end: the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// It still answers, and rightly.
    #[track_caller]
    pub fn is_right(&self) {
        let reply = self.post("/v1/predict", &json!({"texts": [PHRASE]}));
        assert_eq!(reply.status, 200, "{reply:?}");
        let label = &reply.json()["results"][0]["tasks"]["domain"]["label"];
        let expected = if self.domain.is_empty() { rightly() } else { self.domain };
        assert_eq!(label, expected, "{reply:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Asserts a refusal, and returns it.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let error = self.json()["error"].take();
        assert_eq!(error["code"], code, "{error}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{error}");
        error
    }
}

/// A whole request, for a connection of its own.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Reads an answer to the end of the connection; none when there is none.
pub fn read(stream: &mut TcpStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    // A connection that is reset behind an answer does not take it back.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

pub fn parse(bytes: &[u8]) -> Option<Reply> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Reply { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() })
}

/// A text of so many words, each a token.
pub fn words(count: usize) -> String {
    "word ".repeat(count)
}

/// A request of texts that takes a while.
pub fn heavy(texts: usize) -> Value {
    json!({ "texts": vec![words(300); texts] })
}

/// The Python of the tests.
pub fn python(script: &str, arguments: &[&str]) -> String {
    let python = root().join(".downloads/venv/bin/python");
    let output = std::process::Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}
