//! Owns `validation.safetensors`: what the heads see of validation rows, and these rows' labels, so that
//! heads fitted anew elsewhere can be compared with the old ones.
//!
//! Tensors `features` `[rows, width]` f32 (the places of a row that cover what the named tasks' heads see),
//! per task `labels.TASK` `[rows]` i32 (−1: no label) and, where its head looks at words, `words.TASK`
//! `[rows, classes]` f32, what these add to the head's logits. Where several labels can be true, labels are
//! `[rows, labels]` u8 (1: it is, 0: it is not, 255: not known); of numbers `[rows]` f32 (not a number: not
//! known). The metadata entry `tasks` is a JSON list of `{"task", "labels"}`; the kinds are the manifest's.
//! Holds no text, no hash of one, and not which words stood there. Refuses an entry that is not, to the byte,
//! what it would write.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::archive::lie;
use super::contents::Manifest;
use super::entries::VALIDATION;
use crate::document;
use crate::embed::{FeatureRows, RowLayout, covering};
use crate::encoder::FeatureChoice;
use crate::error::{Kind, Result};
use crate::heads::{FeatureView, Head, WordLogits};
use crate::task::{Target, TaskKind};
use crate::tensors::{Dtype, TensorFile, Tensors, floats_of};

const TASKS: &str = "tasks";
const FEATURES: &str = "features";
/// What stands for a label that is not known …
const UNLABELLED: i32 = -1;
/// … and where several labels can be true.
const UNKNOWN: u8 = 255;

/// Validation rows as the heads see them.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    features: FeatureRows,
    tasks: Vec<ValidationTask>,
}

/// One task's side of the validation rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationTask {
    pub task: String,
    pub kind: TaskKind,
    /// The names that `truth` indexes, sorted: those of the first head, whatever later heads know, and those
    /// of rows whose label it never saw.
    pub labels: Vec<String>,
    /// Per row.
    pub truth: Vec<Option<Target>>,
    /// What its head sees of a whole row.
    pub columns: Range<usize>,
    /// What its head's words add to the logits, where it has some.
    pub words: Option<WordLogits>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskEntry {
    task: String,
    labels: Vec<String>,
}

impl Validation {
    /// These of some rows, `truth` is that of each; those without any label are left out.
    #[must_use]
    pub fn new(features: &FeatureRows, rows: &[usize], mut tasks: Vec<ValidationTask>) -> Self {
        let labelled: Vec<usize> =
            (0..rows.len()).filter(|&place| tasks.iter().any(|task| task.truth[place].is_some())).collect();
        let numbers = labelled.iter().flat_map(|&place| features.row(rows[place])).copied().collect();
        for task in &mut tasks {
            task.truth = labelled.iter().map(|&place| task.truth[place].clone()).collect();
            task.words = task.words.as_ref().map(|words| words.only(&labelled));
        }
        Self { features: FeatureRows::new(features.places(), numbers), tasks }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.features.rows()
    }

    /// The tasks that have labels here.
    #[must_use]
    pub fn tasks(&self) -> &[ValidationTask] {
        &self.tasks
    }

    /// A task's side, if it has labels here.
    #[must_use]
    pub fn task(&self, task: &str) -> Option<&ValidationTask> {
        self.tasks.iter().find(|side| side.task == task)
    }

    /// The rows as a task's head sees them.
    #[must_use]
    pub fn view<'v>(&'v self, task: &'v ValidationTask) -> FeatureView<'v> {
        self.features.view(&task.columns).with_words(task.words.as_ref())
    }

    /// Puts what a task's head's words say now in the place of what they said.
    pub fn put_words(&mut self, task: &str, words: WordLogits) {
        if let Some(side) = self.tasks.iter_mut().find(|side| side.task == task) {
            side.words = Some(words);
        }
    }

    /// The entry's bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut file = TensorFile::default();
        file.add_floats(FEATURES, &[self.rows(), self.features.width()], self.features.numbers());
        let mut entries = Vec::new();
        for task in &self.tasks {
            task.put(&mut file, self.rows());
            if let Some(WordLogits { classes, values }) = &task.words {
                file.add_floats(words_name(&task.task), &[self.rows(), *classes], values);
            }
            entries.push(TaskEntry { task: task.task.clone(), labels: task.labels.clone() });
        }
        file.note(TASKS, &entries);
        file.to_bytes()
    }

    /// Reads the entry of a bundle, everything in it checked.
    ///
    /// # Errors
    /// It is not what it must be, or does not fit the bundle.
    pub(super) fn from_bytes(bytes: &[u8], manifest: &Manifest, heads: &[Head]) -> Result<Self> {
        let wrong = |what: &str| lie(what).entry(VALIDATION);
        let file = Tensors::read(bytes, Kind::Bundle)
            .map_err(|source| wrong("an entry is not what it must be").because(source))?;
        let entries =
            file.note(TASKS).ok_or_else(|| wrong("the validation rows do not say whose they are"))?;
        let what = format!("the entry {VALIDATION:?} is not what it must be");
        let entries: Vec<TaskEntry> = document::json(entries.as_bytes(), Kind::Bundle, &what)?;
        let columns = columns(&entries, manifest)?;
        let features = features(&file, covering(&columns))?;
        let tasks = entries.into_iter().zip(columns).map(|(entry, columns)| {
            let kind = kind(&entry, manifest);
            let truth = truth(&file, (&entry, kind), features.rows())?;
            let head = heads.iter().find(|head| head.task == entry.task && head.words.is_some());
            let words = head.map(|head| word_logits(&file, head, features.rows())).transpose()?;
            Ok(ValidationTask { task: entry.task, kind, labels: entry.labels, truth, columns, words })
        });
        let validation = Self { tasks: tasks.collect::<Result<_>>()?, features };
        // Whatever else could be said in such a file was not said.
        if validation.to_bytes() == bytes {
            return Ok(validation);
        }
        Err(wrong("the validation rows are not as frosthead writes them"))
    }
}

impl ValidationTask {
    /// Adds the truth of the rows.
    fn put(&self, file: &mut TensorFile, rows: usize) {
        let label = |target: &Option<Target>| {
            let label = target.as_ref().and_then(|target| i32::try_from(target.label()).ok());
            label.unwrap_or(UNLABELLED).to_le_bytes()
        };
        let several = |target: &Option<Target>| -> Vec<u8> {
            let count = self.labels.len();
            let Some(target) = target else { return vec![UNKNOWN; count] };
            let mut row = vec![0; count];
            target.labels().iter().for_each(|label| row[*label as usize] = 1);
            row
        };
        let number =
            |target: &Option<Target>| target.as_ref().map_or(f32::NAN, |target| target.number() as f32);
        let (name, truth) = (name(&self.task), self.truth.iter());
        match self.kind {
            TaskKind::OneOf => file.add(name, Dtype::I32, &[rows], truth.flat_map(label).collect()),
            TaskKind::AnyOf => {
                file.add(name, Dtype::U8, &[rows, self.labels.len()], truth.flat_map(several).collect());
            }
            TaskKind::Number => file.add_floats(name, &[rows], &truth.map(number).collect::<Vec<_>>()),
        }
    }
}

/// The kind of a task; whoever reads it checks that the bundle has it.
fn kind(entry: &TaskEntry, manifest: &Manifest) -> TaskKind {
    let deployed = manifest.tasks.iter().find(|task| task.task == entry.task);
    deployed.map_or(TaskKind::default(), |task| task.kind)
}

/// The name of a task's labels.
fn name(task: &str) -> String {
    format!("labels.{task}")
}

/// The name of what a task's head's words say.
fn words_name(task: &str) -> String {
    format!("words.{task}")
}

/// What the tasks' heads see of a whole row.
fn columns(entries: &[TaskEntry], manifest: &Manifest) -> Result<Vec<Range<usize>>> {
    let unfitting =
        |what: &str| lie("the validation rows do not fit the bundle").entry(VALIDATION).found(what);
    if entries.is_empty() {
        return Err(unfitting("no task"));
    }
    let backbone = &manifest.backbone;
    let embedding = manifest.embedding_size();
    let layout = RowLayout::new(backbone.layers(), embedding, backbone.hidden_size, FeatureChoice::All);
    let of = |(place, entry): (usize, &TaskEntry)| {
        if entries[..place].iter().any(|other| other.task == entry.task) {
            return Err(unfitting(&format!("task {:?} twice", entry.task)));
        }
        if entry.labels.len() < kind(entry, manifest).least_labels()
            || !entry.labels.is_sorted_by(|a, b| a < b)
        {
            let labels = entry.labels.iter().map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ");
            return Err(unfitting(&format!("the labels {labels} of task {:?}", entry.task)));
        }
        let deployed = manifest.tasks.iter().find(|task| task.task == entry.task);
        let deployed =
            deployed.ok_or_else(|| unfitting(&format!("task {:?}, which it does not have", entry.task)))?;
        layout.columns(deployed.features).map_err(|source| unfitting("other features").because(source))
    };
    entries.iter().enumerate().map(of).collect()
}

fn features(file: &Tensors<'_>, places: Range<usize>) -> Result<FeatureRows> {
    let width = places.len();
    let wrong = |what: &str| lie(what).entry(VALIDATION);
    let tensor = file.any(FEATURES).map_err(|source| wrong("the features are missing").because(source))?;
    if tensor.dtype() != Dtype::F32
        || !matches!(tensor.shape(), [rows, columns] if *rows > 0 && *columns == width)
    {
        return Err(wrong("the features are not those that the heads see")
            .found(format!("{} {:?}", tensor.dtype(), tensor.shape()))
            .expected(format!("F32 [rows, {width}]")));
    }
    let numbers = floats_of(tensor.data());
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok(FeatureRows::new(places, numbers));
    }
    Err(wrong("a feature is not a finite number"))
}

fn word_logits(file: &Tensors<'_>, head: &Head, rows: usize) -> Result<WordLogits> {
    let (name, classes) = (words_name(&head.task), head.labels.len());
    let wrong = |what: &str| lie(what).tensor(&name);
    let tensor = file.any(&name).map_err(|source| wrong("what the words say is missing").because(source))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != [rows, classes] {
        return Err(wrong("the words do not say something of every row and class")
            .found(format!("{} {:?}", tensor.dtype(), tensor.shape()))
            .expected(format!("F32 [{rows}, {classes}]")));
    }
    let values = floats_of(tensor.data());
    if values.iter().all(|number| number.is_finite()) {
        return Ok(WordLogits { classes, values });
    }
    Err(wrong("what the words say is not a finite number"))
}

fn truth(
    file: &Tensors<'_>,
    (entry, kind): (&TaskEntry, TaskKind),
    rows: usize,
) -> Result<Vec<Option<Target>>> {
    let wrong = |what: &str| lie(what).tensor(name(&entry.task));
    let tensor =
        file.any(&name(&entry.task)).map_err(|source| wrong("labels are missing").because(source))?;
    let (dtype, shape) = match kind {
        TaskKind::OneOf => (Dtype::I32, vec![rows]),
        TaskKind::AnyOf => (Dtype::U8, vec![rows, entry.labels.len()]),
        TaskKind::Number => (Dtype::F32, vec![rows]),
    };
    if tensor.dtype() != dtype || tensor.shape() != shape {
        return Err(wrong("there is not a label for every row")
            .found(format!("{} {:?}", tensor.dtype(), tensor.shape()))
            .expected(format!("{dtype} {shape:?}")));
    }
    match kind {
        TaskKind::OneOf => of_one(tensor.data(), entry),
        TaskKind::AnyOf => {
            tensor.data().chunks_exact(entry.labels.len()).map(|row| of_several(row, entry)).collect()
        }
        TaskKind::Number => {
            floats_of(tensor.data()).into_iter().map(|number| of_number(number, entry)).collect()
        }
    }
}

fn of_one(data: &[u8], entry: &TaskEntry) -> Result<Vec<Option<Target>>> {
    let index = |bytes: &[u8; 4]| match i32::from_le_bytes(*bytes) {
        UNLABELLED => Ok(None),
        label => u32::try_from(label)
            .ok()
            .filter(|&label| (label as usize) < entry.labels.len())
            .map(|label| Some(Target::Label(label)))
            .ok_or_else(|| {
                lie("there is no such label")
                    .tensor(name(&entry.task))
                    .found(label.to_string())
                    .expected(format!("-1 to {}", entry.labels.len() - 1))
            }),
    };
    data.as_chunks().0.iter().map(index).collect()
}

fn of_several(row: &[u8], entry: &TaskEntry) -> Result<Option<Target>> {
    if row.iter().all(|is| *is == UNKNOWN) {
        return Ok(None);
    }
    if let Some(wrong) = row.iter().find(|is| **is > 1) {
        return Err(lie("a label is true of a row or it is not")
            .tensor(name(&entry.task))
            .found(wrong.to_string())
            .expected("0 or 1, or 255 for a whole row"));
    }
    let labels: Vec<u32> = (0..).zip(row).filter(|(_, is)| **is == 1).map(|(label, _)| label).collect();
    Ok(Some(Target::Labels(labels.into())))
}

fn of_number(number: f32, entry: &TaskEntry) -> Result<Option<Target>> {
    if number.is_infinite() {
        return Err(lie("a number is not finite").tensor(name(&entry.task)));
    }
    Ok((!number.is_nan()).then_some(Target::Number(f64::from(number))))
}
