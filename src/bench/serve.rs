//! Owns `bench serve`: what clients of a running server see. A process of its own, whose processor time is
//! reported.
//!
//! Closed loop: so many clients, each asking anew when it has its answer. Open loop: requests start on a
//! schedule, whatever the answers, and a latency counts from the scheduled start, so that a server that falls
//! behind cannot hide it.
//!
//! Refuses to speak more HTTP than a measurement needs: one text a request, kept-alive connections, no TLS.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::classifier::{Classifier, Model, TaskPrediction};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::metrics::Latency;
use crate::runtime::allow_open_files;
use crate::task::TaskKind;
use crate::text::Text;

/// A client's stack: it holds a connection and little else, and there may be thousands.
const STACK_BYTES: usize = 256 * 1024;
/// A connection that is silent for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to ask.
#[derive(Debug, Clone)]
pub struct ServeBenchOptions {
    pub address: SocketAddr,
    pub key: Option<String>,
    /// Connections; in an open loop as many requests can be under way.
    pub clients: usize,
    /// Requests a second; none: a closed loop.
    pub rate: Option<f64>,
    pub duration: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct ServeBench {
    pub clients: usize,
    pub rate: Option<f64>,
    pub seconds: f64,
    pub requests: usize,
    /// How often each status was answered; `none` where there was no answer.
    pub statuses: BTreeMap<String, usize>,
    /// Answered with 200.
    pub texts_per_second: f64,
    /// Milliseconds of those answered with 200.
    pub accepted: Option<Latency>,
    /// Milliseconds of those answered otherwise.
    pub refused: Option<Latency>,
    /// Milliseconds that the latest start was behind its schedule: then there were too few clients, or too
    /// little processor.
    pub latest_start: f64,
    /// Answers that were compared with what the model they name gives, and those that were something else.
    pub checked: usize,
    pub wrong: usize,
    /// Answers per model.
    pub models: BTreeMap<String, usize>,
    /// Processor seconds of this process, all clients together.
    pub cpu_seconds: f64,
}

/// What a model says of every text, per task.
type Expected = BTreeMap<String, Vec<Vec<(String, Said)>>>;

/// What a task says of a text.
enum Said {
    /// The label, unless there is none, and the probability of the most probable one.
    One(Option<String>, f32),
    Several(Vec<(String, f32)>),
    Number(f32),
}

impl Said {
    fn new(head: &Head, prediction: &TaskPrediction) -> Self {
        let named = |label: &usize| head.labels[*label].clone();
        let probabilities = &prediction.probabilities;
        match head.kind {
            TaskKind::OneOf => {
                Self::One(prediction.labels.first().map(named), probabilities[prediction.label])
            }
            TaskKind::AnyOf => Self::Several(
                prediction.labels.iter().map(|label| (named(label), probabilities[*label])).collect(),
            ),
            TaskKind::Number => Self::Number(probabilities[0]),
        }
    }

    /// Whether an answer says that.
    fn is(&self, answer: &Value) -> bool {
        let is = |found: &Value, number: f32| found.as_f64().map(|found| found as f32) == Some(number);
        match self {
            Self::One(label, probability) => {
                answer["label"].as_str() == label.as_deref() && is(&answer["probability"], *probability)
            }
            Self::Several(labels) => answer["labels"].as_array().is_some_and(|found| {
                let pairs = found.iter().zip(labels);
                found.len() == labels.len()
                    && pairs.into_iter().all(|(found, (label, probability))| {
                        found["label"] == **label && is(&found["probability"], *probability)
                    })
            }),
            Self::Number(number) => is(&answer["number"], *number),
        }
    }
}

/// One answer.
struct Reply {
    status: u16,
    model: String,
    body: Vec<u8>,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    accepted: Vec<f64>,
    refused: Vec<f64>,
    statuses: BTreeMap<u16, usize>,
    unanswered: usize,
    models: BTreeMap<String, usize>,
    checked: usize,
    wrong: usize,
    latest_start: f64,
}

/// Asks a server for `texts`, one a request, in turn; answers are compared with what the `models` give.
///
/// # Errors
/// There are no texts, a model cannot run, or the server cannot be reached at all.
pub fn bench_serve(
    texts: &[Text<'_>],
    models: &[Classifier],
    options: &ServeBenchOptions,
) -> Result<ServeBench> {
    if texts.is_empty() {
        return Err(Error::new(Kind::Table, "there are no texts to ask for").expected("at least one row"));
    }
    let expected = expected(texts, models)?;
    let requests: Vec<Vec<u8>> = texts.iter().map(|text| request(*text, options)).collect();
    allow_open_files();
    drop(connect(options.address)?);
    let (next, before, start) = (AtomicUsize::new(0), processor_seconds(), Instant::now());
    let client = || {
        let mut seen = Seen::default();
        ask(&requests, &expected, options, start, &next, &mut seen);
        seen
    };
    let all = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, client);
        let clients: std::io::Result<Vec<_>> = (0..options.clients).map(spawn).collect();
        let join = |client: std::thread::ScopedJoinHandle<Seen>| {
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        clients.map(|clients| clients.into_iter().map(join).collect::<Vec<_>>())
    });
    let all =
        all.map_err(|source| Error::new(Kind::Usage, "cannot start so many clients").because(source))?;
    Ok(summary(all, options, start.elapsed().as_secs_f64(), processor_seconds() - before))
}

fn expected(texts: &[Text<'_>], models: &[Classifier]) -> Result<Expected> {
    let mut expected = Expected::new();
    for model in models {
        let Model::Bundle(bundle) = model.model() else {
            return Err(Error::new(Kind::Usage, "only bundles are served").at(model.model().path()));
        };
        let says = model.predict(texts)?.into_iter().map(|tasks| {
            let named = model.heads().iter().zip(tasks);
            let named = named.map(|(head, prediction)| (head.task.clone(), Said::new(head, &prediction)));
            named.collect()
        });
        expected.insert(bundle.fingerprint().to_string(), says.collect());
    }
    Ok(expected)
}

/// A whole request for a text.
fn request(text: Text<'_>, options: &ServeBenchOptions) -> Vec<u8> {
    let body = match text.second {
        None => serde_json::json!({ "texts": [text.first] }),
        Some(second) => serde_json::json!({ "pairs": [[text.first, second]] }),
    };
    let body = body.to_string();
    let key = options.key.as_ref().map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    let head = format!(
        "POST /v1/predict HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n",
        options.address,
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// One client, until the time is up.
fn ask(
    requests: &[Vec<u8>],
    expected: &Expected,
    options: &ServeBenchOptions,
    start: Instant,
    next: &AtomicUsize,
    seen: &mut Seen,
) {
    let mut connection = None;
    loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let due = options
            .rate
            .map_or_else(Instant::now, |rate| start + Duration::from_secs_f64(turn as f64 / rate));
        if due >= start + options.duration {
            return;
        }
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        seen.latest_start = seen.latest_start.max(due.elapsed().as_secs_f64());
        let text = turn % requests.len();
        let reply = exchange(&mut connection, options.address, &requests[text]);
        let took = due.elapsed().as_secs_f64();
        match reply {
            Ok(reply) => seen.note(&reply, took, text, expected),
            Err(_) => {
                connection = None;
                seen.unanswered += 1;
            }
        }
    }
}

impl Seen {
    fn note(&mut self, reply: &Reply, took: f64, text: usize, expected: &Expected) {
        *self.statuses.entry(reply.status).or_default() += 1;
        if reply.status != 200 {
            self.refused.push(took);
            return;
        }
        self.accepted.push(took);
        *self.models.entry(reply.model.clone()).or_default() += 1;
        if let Some(texts) = expected.get(&reply.model) {
            self.checked += 1;
            self.wrong += usize::from(!equals(&reply.body, &texts[text]));
        } else if !expected.is_empty() {
            // A model that nobody named.
            self.wrong += 1;
        }
    }
}

/// Whether an answer is what the model gives.
fn equals(body: &[u8], expected: &[(String, Said)]) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let tasks = &answer["results"][0]["tasks"];
    expected.iter().all(|(task, said)| said.is(&tasks[task]))
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let open = || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    };
    open().map_err(|source: std::io::Error| {
        Error::new(Kind::Network, "the server cannot be reached")
            .found(address.to_string())
            .help("start it: frosthead serve x.frost")
            .because(source)
    })
}

/// Sends a request and reads its answer, over the connection if there still is one.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    address: SocketAddr,
    request: &[u8],
) -> Result<Reply> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => connect(address)?,
    };
    let mut talk = || -> std::io::Result<(Reply, bool)> {
        stream.get_mut().write_all(request)?;
        read_reply(&mut stream)
    };
    let (reply, lasts) =
        talk().map_err(|source| Error::new(Kind::Network, "the connection was lost").because(source))?;
    *connection = lasts.then_some(stream);
    Ok(reply)
}

/// An answer, and whether the connection stays open.
fn read_reply(stream: &mut BufReader<TcpStream>) -> std::io::Result<(Reply, bool)> {
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let (mut line, mut length, mut lasts, mut model) = (String::new(), 0, true, String::new());
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| broken())?,
            "connection" => lasts = !value.eq_ignore_ascii_case("close"),
            "x-frosthead-model" => value.clone_into(&mut model),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((Reply { status, model, body }, lasts))
}

fn summary(all: Vec<Seen>, options: &ServeBenchOptions, seconds: f64, cpu_seconds: f64) -> ServeBench {
    let mut whole = Seen::default();
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for seen in all {
        whole.accepted.extend(seen.accepted);
        whole.refused.extend(seen.refused);
        seen.models.into_iter().for_each(|(model, times)| *whole.models.entry(model).or_default() += times);
        seen.statuses
            .iter()
            .for_each(|(status, times)| *statuses.entry(status.to_string()).or_default() += times);
        whole.unanswered += seen.unanswered;
        whole.checked += seen.checked;
        whole.wrong += seen.wrong;
        whole.latest_start = whole.latest_start.max(seen.latest_start);
    }
    if whole.unanswered > 0 {
        statuses.insert("none".to_owned(), whole.unanswered);
    }
    let texts_per_second = whole.accepted.len() as f64 / seconds;
    ServeBench {
        clients: options.clients,
        rate: options.rate,
        seconds,
        requests: statuses.values().sum(),
        statuses,
        texts_per_second,
        accepted: Latency::of(&whole.accepted),
        refused: Latency::of(&whole.refused),
        latest_start: 1e3 * whole.latest_start,
        checked: whole.checked,
        wrong: whole.wrong,
        models: whole.models,
        cpu_seconds,
    }
}

/// What this process has used of the processor.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);

    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
