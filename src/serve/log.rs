//! Owns what the server says while it runs: one line an event on standard error, for people or as JSON.
//!
//! Refuses to hold the server up (a reader that stops reading loses lines, and is told how many), to be
//! flooded (one kind of refusal is said at once, and then summed up every ten seconds), and to write texts:
//! events carry names and numbers only.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::error::Error;
use crate::named::named;

/// Lines that may wait for a slow reader.
const WAITING_LINES: usize = 1024;
/// How often refusals of one kind are summed up.
const SUMMED_UP_EVERY: Duration = Duration::from_secs(10);

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

named!(LogFormat, "there is no such format of logs", Text = "text", Json = "json");

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What belongs to an event.
pub(super) type Fields<'f> = &'f [(&'f str, Value)];

/// Writes events from a thread of its own.
pub(super) struct Log {
    format: LogFormat,
    lines: Mutex<Option<SyncSender<String>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lost: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, Refused>>,
}

/// Refusals of one kind that were not said yet.
struct Refused {
    said: Instant,
    since: u64,
}

impl Log {
    pub(super) fn new(format: LogFormat) -> Self {
        let (lines, waiting) = sync_channel::<String>(WAITING_LINES);
        let writer = std::thread::spawn(move || {
            for line in waiting {
                // Nobody listening there is no reason to stop.
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        });
        Self {
            format,
            lines: Mutex::new(Some(lines)),
            writer: Mutex::new(Some(writer)),
            lost: AtomicU64::new(0),
            refused: Mutex::default(),
        }
    }

    pub(super) fn info(&self, event: &str, fields: Fields) {
        self.write(Level::Info, event, fields);
    }

    pub(super) fn warn(&self, event: &str, fields: Fields) {
        self.write(Level::Warn, event, fields);
    }

    pub(super) fn error(&self, event: &str, fields: Fields) {
        self.write(Level::Error, event, fields);
    }

    /// A refused request.
    pub(super) fn refusal(&self, code: &'static str, fields: Fields) {
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(refused) = all.get_mut(code) {
            refused.since += 1;
            if now - refused.said < SUMMED_UP_EVERY {
                return;
            }
        }
        let since = all.insert(code, Refused { said: now, since: 0 }).map_or(1, |refused| refused.since);
        drop(all);
        let mut fields = fields.to_vec();
        fields.extend([("code", code.into()), ("times", since.into())]);
        self.warn("refused", &fields);
    }

    fn write(&self, level: Level, event: &str, fields: Fields) {
        let line = line(self.format, level, event, fields);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = &*lines else { return };
        match self.lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                let told =
                    self::line(self.format, Level::Warn, "log lines were lost", &[("lines", lost.into())]);
                if lines.try_send(told).is_err() {
                    self.lost.fetch_add(lost, Ordering::Relaxed);
                }
            }
        }
        if let Err(TrySendError::Full(_)) = lines.try_send(line) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is left, but does not wait for a reader that stopped reading.
    pub(super) fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(writer) = writer else { return };
        let patience = Instant::now() + Duration::from_secs(1);
        while !writer.is_finished() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// An error as fields: what and where, its causes, what to do.
pub(super) fn fields_of(error: &Error) -> Vec<(&'static str, Value)> {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    let mut fields = vec![("error", Value::from(error.to_string()))];
    fields.extend((!causes.is_empty()).then(|| ("because", causes.join(": ").into())));
    fields.extend(error.remedy().map(|help| ("help", help.into())));
    fields
}

fn line(format: LogFormat, level: Level, event: &str, fields: Fields) -> String {
    match format {
        LogFormat::Json => {
            let always = [("time", now().into()), ("level", level.name().into()), ("event", event.into())];
            let all = always.iter().chain(fields).map(|(name, value)| ((*name).to_owned(), value.clone()));
            Value::Object(all.collect()).to_string()
        }
        LogFormat::Text => {
            let mark = if level == Level::Info { String::new() } else { format!("{}: ", level.name()) };
            // JSON's own escapes keep a line a line, whatever a path or an error holds.
            let fields = fields.iter().map(|(name, value)| format!(" {name}={value}"));
            format!("{mark}{event}{}", fields.collect::<String>())
        }
    }
}

/// Seconds since 1970, to the millisecond.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_in_both_formats() {
        let fields = [("path", Value::from("a\nb")), ("texts", 3.into())];
        let text = line(LogFormat::Text, Level::Warn, "refused", &fields);
        assert_eq!(text, r#"warn: refused path="a\nb" texts=3"#);
        let json: Value =
            serde_json::from_str(&line(LogFormat::Json, Level::Info, "ready", &fields)).unwrap();
        assert_eq!(
            (&json["level"], &json["event"], &json["path"]),
            (&"info".into(), &"ready".into(), &"a\nb".into())
        );
        assert!(json["time"].as_f64().unwrap() > 1.7e9);
    }

    #[test]
    fn a_flood_of_refusals_is_one_line() {
        let log = Log::new(LogFormat::Text);
        for _ in 0..1000 {
            log.refusal("queue_full", &[]);
        }
        log.refusal("unauthorized", &[]);
        let refused = log.refused.lock().unwrap();
        assert_eq!(refused["queue_full"].since, 999);
        assert_eq!(refused["unauthorized"].since, 0);
    }
}
