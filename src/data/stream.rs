//! Owns reading a table ahead of who works on its rows: a thread reads, rows wait in a queue of bounded size,
//! and all that wait are taken at a time. Of a file so many are waited for as the queue holds; of what
//! somebody is still writing (a pipe, a terminal) one.
//!
//! Refuses to hold more than the queue may and one row, to show an error before the rows in front of it, and
//! to spin.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::header::Header;
use super::row::Row;
use super::source::Source;
use super::table::TableReader;
use crate::error::{Error, Kind, Result};

/// How much may wait at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub rows: usize,
    /// Of the rows' cells; the row that goes beyond them still waits.
    pub bytes: usize,
}

/// The rows of a table, read ahead.
pub struct RowStream {
    header: Header,
    /// Whether rows come as somebody writes them.
    live: bool,
    queue: Arc<Queue>,
}

struct Queue {
    room: Room,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rows: VecDeque<Row>,
    bytes: usize,
    /// Nothing comes any more: the table ended, or why it cannot be read further.
    ended: Option<Option<Error>>,
    /// Nobody takes rows any more.
    left: bool,
    /// [`TableReader::left_out`], once the table has ended.
    left_out: BTreeSet<String>,
}

impl RowStream {
    /// Opens a table, lets `prepare` ask it for its columns, and begins to read it.
    ///
    /// # Errors
    /// As [`TableReader::open`], `prepare` fails, or no thread can be started.
    pub fn open<T: Send + 'static>(
        source: &Source,
        room: Room,
        prepare: impl FnOnce(&mut TableReader) -> Result<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let live = !source.is_regular_file();
        let queue = Arc::new(Queue { room, state: Mutex::default(), changed: Condvar::new() });
        let (source, reading) = (source.clone(), Reading(Arc::clone(&queue)));
        let (send, opened) = std::sync::mpsc::channel();
        // Nobody waits for its end: it may be reading from a pipe that nobody writes to.
        std::thread::Builder::new()
            .name("table".to_owned())
            .spawn(move || match prepared(&source, prepare) {
                Ok((mut reader, answer)) => {
                    // The receiver waits for this one message.
                    let _there = send.send(Ok((reader.header(), answer)));
                    reading.all(&mut reader);
                }
                Err(error) => {
                    let _there = send.send(Err(error));
                }
            })
            .map_err(|source| {
                Error::new(Kind::Io, "no thread can be started to read the table").because(source)
            })?;
        let (header, answer) = opened.recv().unwrap_or_else(|_| Err(given_up()))?;
        Ok((Self { header, live, queue }, answer))
    }

    /// What the table says of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Names of what no column had and could not be carried, once all rows are taken.
    #[must_use]
    pub fn left_out(&self) -> BTreeSet<String> {
        self.queue.locked().left_out.clone()
    }

    /// Waits until a row is there, and then, for `patience` at most, until the queue is full or the table has
    /// ended; says how many rows wait.
    #[must_use]
    pub fn settle(&self, patience: Duration) -> usize {
        let state = self.queue.wait_until(|state| !state.rows.is_empty() || state.ended.is_some());
        let filling = |state: &mut State| state.ended.is_none() && self.queue.has_room(state);
        let changed = &self.queue.changed;
        if self.live {
            changed
                .wait_timeout_while(state, patience, filling)
                .unwrap_or_else(PoisonError::into_inner)
                .0
                .rows
                .len()
        } else {
            changed.wait_while(state, filling).unwrap_or_else(PoisonError::into_inner).rows.len()
        }
    }

    /// The next rows: all that wait. None at the end.
    ///
    /// # Errors
    /// The row that comes next is malformed.
    pub fn next_rows(&mut self) -> Result<Vec<Row>> {
        let enough = |state: &State| {
            state.ended.is_some()
                || if self.live { !state.rows.is_empty() } else { !self.queue.has_room(state) }
        };
        let mut state = self.queue.wait_until(enough);
        let rows: Vec<Row> = state.rows.drain(..).collect();
        state.bytes = 0;
        let failed = if rows.is_empty() { state.ended.as_mut().and_then(Option::take) } else { None };
        drop(state);
        self.queue.changed.notify_all();
        failed.map_or(Ok(rows), Err)
    }
}

fn prepared<T>(
    source: &Source,
    prepare: impl FnOnce(&mut TableReader) -> Result<T>,
) -> Result<(TableReader, T)> {
    let mut reader = TableReader::open(source)?;
    let answer = prepare(&mut reader)?;
    Ok((reader, answer))
}

impl Drop for RowStream {
    fn drop(&mut self) {
        self.queue.locked().left = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State) -> bool {
        state.rows.len() < self.room.rows && (state.rows.is_empty() || state.bytes < self.room.bytes)
    }

    fn wait_until(&self, holds: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_while(self.locked(), |state| !holds(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the queue that rows are put in at. When it goes away, whatever the reason, nobody waits any
/// longer.
struct Reading(Arc<Queue>);

impl Reading {
    fn all(self, reader: &mut TableReader) {
        let queue = &self.0;
        loop {
            // Before a row is read: no more than one is ever held beside the queue.
            if queue.wait_until(|state| state.left || queue.has_room(state)).left {
                return;
            }
            let end = match reader.read(1, usize::MAX) {
                Ok(mut rows) => match rows.pop() {
                    Some(row) => {
                        self.put(row);
                        continue;
                    }
                    None => None,
                },
                Err(error) => Some(error),
            };
            let mut state = queue.locked();
            state.left_out.clone_from(reader.left_out());
            state.ended = Some(end);
            return;
        }
    }

    fn put(&self, row: Row) {
        let mut state = self.0.locked();
        state.bytes += row.bytes();
        state.rows.push_back(row);
        drop(state);
        self.0.changed.notify_all();
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.locked().ended.get_or_insert_with(|| Some(given_up()));
        self.0.changed.notify_all();
    }
}

fn given_up() -> Error {
    Error::new(Kind::Table, "reading the table ended without a reason: this is a bug")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Format;
    use std::io::Write as _;
    use std::path::Path;
    use std::time::Instant;

    const ROOM: Room = Room { rows: 4, bytes: 100 };

    fn lines(path: &Path, room: Room) -> RowStream {
        let source = Source::new(path.to_str().unwrap(), Some(Format::Lines)).unwrap();
        let (stream, columns) =
            RowStream::open(&source, room, |reader| Ok(reader.columns().to_vec())).unwrap();
        assert_eq!(columns, ["text"]);
        stream
    }

    fn file(directory: &Path, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = directory.join("a.txt");
        std::fs::write(&path, content).unwrap();
        path
    }

    fn pipe(directory: &Path) -> std::path::PathBuf {
        let path = directory.join("pipe");
        let done = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(done.success());
        path
    }

    #[test]
    fn of_a_file_whole_windows_are_taken_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        let mut stream = lines(&path, ROOM);
        assert_eq!(stream.settle(Duration::ZERO), 4);
        let mut sizes = Vec::new();
        let mut numbers = Vec::new();
        loop {
            let rows = stream.next_rows().unwrap();
            if rows.is_empty() {
                break;
            }
            sizes.push(rows.len());
            numbers.extend(rows.iter().map(|row| row.number));
        }
        assert_eq!(sizes, [4, 4, 1]);
        assert_eq!(numbers, (1..=9).collect::<Vec<_>>());
        assert!(stream.next_rows().unwrap().is_empty(), "the end stays the end");
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_but_takes_a_row_of_any_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), format!("{}\n{}\nc\n", "a".repeat(300), "b".repeat(60)));
        let mut stream = lines(&path, ROOM);
        assert_eq!(stream.next_rows().unwrap().len(), 1);
        assert_eq!(stream.next_rows().unwrap().len(), 2);
    }

    #[test]
    fn an_error_comes_behind_the_rows_in_front_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), b"one\ntwo\n\xff\nfour\n");
        let mut stream = lines(&path, ROOM);
        assert_eq!(stream.next_rows().unwrap().len(), 2);
        let error = stream.next_rows().err().unwrap().to_string();
        assert!(error.contains("row 3"), "{error}");
    }

    #[test]
    fn of_a_pipe_a_row_is_taken_as_soon_as_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = pipe(directory.path());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                for line in ["one\n", "two\n"] {
                    pipe.write_all(line.as_bytes()).unwrap();
                    wait.recv().unwrap();
                }
            }
        });
        let mut stream = lines(&path, ROOM);
        for expected in ["one", "two"] {
            assert_eq!(stream.settle(Duration::from_millis(1)), 1);
            let rows = stream.next_rows().unwrap();
            assert_eq!(rows[0].cells[0].as_str(), Some(expected));
            go.send(()).unwrap();
        }
        assert!(stream.next_rows().unwrap().is_empty());
        writer.join().unwrap();
    }

    #[test]
    fn who_goes_away_leaves_no_reader_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "x\n".repeat(100));
        let stream = lines(&path, ROOM);
        let queue = Arc::downgrade(&stream.queue);
        drop(stream);
        let start = Instant::now();
        while queue.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "the reader still waits");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
