//! Owns a task of a training: what was asked of it, its column, its classes and labels, what its head sees.

use std::ops::Range;

use crate::data::{Classes, LabelSet, Part, label_of_text};
use crate::dataset::Dataset;
use crate::encoder::FeatureChoice;
use crate::fingerprint::TextKey;
use crate::heads::{self, Alpha, Answers, Candidate, FitOptions, FitReport, WordsReport};
use crate::metrics::Limits;
use crate::selection::Screened;
use crate::task::{TaskKind, TaskRequest, Truth};

/// One task with all that training knows of it.
pub(super) struct Task {
    pub name: String,
    pub kind: TaskKind,
    /// What its loss counts where layers are trained.
    pub share: f32,
    /// Its place among the columns of a data set.
    pub column: usize,
    /// Per row, the label's name.
    pub cells: Vec<Option<String>>,
    pub classes: Classes,
    /// The labels of its training rows; none before rows are divided.
    pub labels: LabelSet,
    /// Nothing before that is settled.
    pub sees: TaskView,
    /// A head is there that knows more labels than these rows.
    pub known: bool,
}

/// What one task's head sees, and the penalty it is fitted with.
#[derive(Debug, Clone)]
pub(super) struct TaskView {
    /// None: vectors made elsewhere.
    pub choice: Option<FeatureChoice>,
    /// Its place in a stored row.
    pub columns: Range<usize>,
    pub alpha: Alpha,
    /// What `auto` tried, and the seconds that took.
    pub tried: Vec<Candidate>,
    pub run_off: Vec<Candidate>,
    /// What was found of words beside that, where they were tried already.
    pub words: Option<WordsReport>,
    pub seconds: f64,
    /// Bytes that trying and fitting take at their peak, the features included.
    pub memory: u64,
}

impl TaskView {
    /// What was asked for, so that nothing is tried.
    pub fn fixed(alpha: Alpha, choice: Option<FeatureChoice>, columns: Range<usize>) -> Self {
        let (tried, run_off) = (Vec::new(), Vec::new());
        Self { choice, columns, alpha, tried, run_off, words: None, seconds: 0.0, memory: 0 }
    }

    /// What was chosen by trying.
    pub fn of(screened: Screened) -> Self {
        let Screened { choice, columns, alpha, tried, run_off, words, seconds, memory } = screened;
        let (choice, alpha) = (Some(choice), Alpha::Fixed(alpha));
        Self { choice, columns, alpha, tried, run_off, words, seconds, memory }
    }
}

impl TaskView {
    /// How its head is fitted: what was tried already is not tried again.
    pub fn options(&self, fit: &FitOptions) -> FitOptions {
        match (self.alpha, &self.words) {
            (Alpha::Fixed(alpha), Some(words)) => heads::settled(fit, alpha, Some(words)),
            (alpha, _) => FitOptions { alpha, ..fit.clone() },
        }
    }

    /// Adds to the report of a fit what was tried before it.
    pub fn tell(&self, report: &mut FitReport) {
        if !self.tried.is_empty() {
            report.candidates.clone_from(&self.tried);
            report.run_off.clone_from(&self.run_off);
            report.seconds += self.seconds;
        }
        if let Some(found) = &self.words {
            report.words = Some(found.clone().fitted(report.words.take()));
        }
    }
}

impl Task {
    /// Takes a column out of the rows that will be divided.
    pub fn take(asked: &TaskRequest, column: usize, rows: &mut Dataset) -> Self {
        let cells = std::mem::take(&mut rows.cells[column]);
        Self {
            name: asked.name.clone(),
            kind: asked.kind,
            share: asked.share,
            column,
            classes: count(asked.kind, &rows.keys, &cells),
            cells,
            labels: LabelSet::new([]),
            sees: TaskView::fixed(Alpha::Auto, None, 0..0),
            known: false,
        }
    }

    /// Adds the labels of a head that is there already.
    pub fn know(&mut self, labels: &[String]) {
        let names = self.labels.names().iter();
        let more = labels.iter().filter(|label| self.known_as(label).is_none());
        self.labels = LabelSet::new(names.chain(more).map(String::as_str));
        self.classes.untrained.retain(|label| self.labels.index(label).is_none());
    }

    /// The place of a label by any name that it has, or had.
    pub fn known_as(&self, label: &str) -> Option<u32> {
        let names = self.labels.names();
        self.labels.index(label).or_else(|| {
            let place = names.iter().position(|name| same(name, label))?;
            u32::try_from(place).ok()
        })
    }

    /// What its head sees of a text.
    pub fn choice(&self) -> FeatureChoice {
        self.sees.choice.unwrap_or_default()
    }

    /// What its head answers.
    pub fn answers(&self) -> Answers<'_> {
        let limits = Limits::default();
        Answers { task: &self.name, kind: self.kind, labels: self.labels.names(), limits }
    }

    /// The labelled rows of one part.
    pub fn truth(&self, parts: &[Option<Part>], part: Part) -> Truth {
        let rows = (0..parts.len()).filter(|&row| parts[row] == Some(part));
        Truth::new(self.kind, self.labels.names(), &self.cells, rows)
    }

    /// Rows without a label, those that were kept out not counted.
    pub fn unlabelled(&self) -> u64 {
        self.cells.iter().filter(|cell| cell.is_none()).count() as u64 - self.classes.kept_out
    }
}

/// The classes of a task; a number has none.
fn count(kind: TaskKind, keys: &[TextKey], cells: &[Option<String>]) -> Classes {
    if kind.has_labels() { Classes::count(kind == TaskKind::AnyOf, keys, cells) } else { Classes::default() }
}

/// Whether two heads mean one label: older ones may call it `1.0` that is `1` today.
pub(super) fn same(one: &str, other: &str) -> bool {
    one == other || label_of_text(one) == label_of_text(other)
}
