//! Owns `Classifier`: texts → what every task says of them, as arrays, or as columns beside a table's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array as _, ArrayRef, BooleanArray, Float32Array, ListArray, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use frosthead::internal::classifier::Model;
use frosthead::internal::fingerprint::{Fields, Fingerprint};
use frosthead::internal::heads::Head;
use frosthead::internal::runtime::Load;
use frosthead::internal::task::TaskKind;
use frosthead::internal::tuning;
use frosthead::{OpenOptions, Result, TaskPrediction, Text};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray as _, PyArray2, ToPyArray as _};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arguments::{Running, absolute};
use crate::arrow::{Answer, ArrowStream, WINDOW_ROWS, Work};
use crate::embedder::TextNames;
use crate::held::{Held, Reopen};
use crate::interrupts::{Interrupts, without_interpreter};
use crate::texts::Texts;

/// How a classifier is opened.
#[derive(Clone)]
pub struct Options {
    path: PathBuf,
    backbone: Option<PathBuf>,
    trust: Option<String>,
    running: Running,
}

/// An opened run or bundle.
pub struct Loaded {
    options: Options,
    /// Loaded for few texts or for many.
    classifier: Mutex<(Arc<frosthead::Classifier>, Load)>,
    tasks: Vec<Task>,
    max_length: usize,
}

/// What a head answers.
struct Task {
    name: String,
    kind: TaskKind,
    /// None of a number.
    labels: Vec<String>,
    /// Its one label is left away where it is too improbable.
    abstains: bool,
    /// It says between which numbers the truth lies.
    bounds: bool,
}

/// What a task says of texts.
struct Answers {
    /// Per text, the labels that are answered.
    labels: Vec<Vec<usize>>,
    /// Per text, the most probable label.
    likeliest: Vec<usize>,
    /// `[texts, width]`: probabilities, or the number.
    numbers: Vec<f32>,
    /// Numbers of a text.
    width: usize,
    /// Per text, between which numbers the truth lies; nothing where that is not known.
    bounds: Vec<[f32; 2]>,
}

impl Options {
    fn open(&self, load: Load) -> Result<frosthead::Classifier> {
        let options = OpenOptions {
            runtime: self.running.options()?,
            backbone: self.backbone.clone(),
            trust: self.trust.as_deref().map(str::parse).transpose()?,
            tuning: tuning::folder(),
            load,
            ..OpenOptions::default()
        };
        frosthead::Classifier::open_with(&self.path, &options)
    }
}

impl Reopen for Loaded {
    type Options = Options;

    fn open(options: &Options) -> Result<Self> {
        let classifier = options.open(Load::Few)?;
        let tasks = classifier.heads().iter().map(Task::of).collect();
        let max_length = classifier.max_length();
        let classifier = Mutex::new((Arc::new(classifier), Load::Few));
        Ok(Self { options: options.clone(), classifier, tasks, max_length })
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let (classifier, _) = &*self.classifier.lock().unwrap_or_else(PoisonError::into_inner);
        match classifier.model() {
            Model::Bundle(bundle) => Ok(bundle.fingerprint()),
            Model::Run(run) => {
                let heads = Fingerprint::of_file(&run.directory.join("heads.safetensors"))?;
                let backbone = run.backbone(self.options.backbone.as_deref())?.fingerprint();
                let fields = Fields::new("frosthead run 1").field("heads", heads.to_string());
                Ok(fields.field("backbone", backbone.to_string()).finish())
            }
        }
    }
}

impl Loaded {
    /// The classifier, loaded for so many texts.
    fn ready_for(&self, texts: usize) -> Result<Arc<frosthead::Classifier>> {
        let mut loaded = self.classifier.lock().unwrap_or_else(PoisonError::into_inner);
        let load = Load::of_texts(texts);
        if loaded.1 == Load::Few && load == Load::Many {
            *loaded = (Arc::new(self.options.open(load)?), load);
        }
        Ok(Arc::clone(&loaded.0))
    }

    /// What every task says of texts.
    fn answers(&self, texts: &[Text<'_>], interrupts: &mut Interrupts) -> Result<Vec<Answers>> {
        let classifier = self.ready_for(texts.len())?;
        let mut answers: Vec<Answers> = self.tasks.iter().map(|task| Answers::none(task, texts.len())).collect();
        for (place, window) in texts.chunks(WINDOW_ROWS).enumerate() {
            let before = place * WINDOW_ROWS;
            let answered = classifier.predict_each(window, &mut |text, predictions| {
                for (answers, prediction) in answers.iter_mut().zip(predictions) {
                    answers.put(before + text, prediction);
                }
                interrupts.check()
            });
            answered.map_err(|error| error.map_text(|text| before + text))?;
        }
        Ok(answers)
    }
}

impl Answers {
    /// Before anything was said of so many texts.
    fn none(task: &Task, texts: usize) -> Self {
        let width = task.labels.len().max(1);
        Self {
            labels: vec![Vec::new(); texts],
            likeliest: vec![0; texts],
            numbers: vec![0.0; texts * width],
            width,
            bounds: if task.bounds { vec![[0.0; 2]; texts] } else { Vec::new() },
        }
    }

    fn put(&mut self, text: usize, prediction: TaskPrediction) {
        self.numbers[text * self.width..][..self.width].copy_from_slice(&prediction.probabilities);
        self.likeliest[text] = prediction.label;
        self.labels[text] = prediction.labels;
        if let (Some(bounds), Some(found)) = (self.bounds.get_mut(text), prediction.interval) {
            *bounds = found;
        }
    }

    /// What was said of each text.
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.width)
    }

    /// As a matrix of numpy: a row for each text.
    fn matrix<'py>(self, py: Python<'py>) -> Bound<'py, PyArray2<f32>> {
        let matrix = Array2::from_shape_vec((self.likeliest.len(), self.width), self.numbers);
        matrix.expect("as many numbers as rows times columns: other ones are a bug").into_pyarray(py)
    }
}

impl Task {
    fn of(head: &Head) -> Self {
        let labels = if head.kind.has_labels() { head.labels.clone() } else { Vec::new() };
        let limits = head.believed.limits();
        let abstains = head.kind == TaskKind::OneOf && !limits.thresholds.is_empty();
        let bounds = limits.interval.is_some() && !head.kind.has_labels();
        Self { name: head.task.clone(), kind: head.kind, labels, abstains, bounds }
    }

    /// What is answered, as numpy has it: of one label an array of them (of objects, with `None` where it is left
    /// away, if that can be), of several an array of tuples, the most probable first, of a number its array.
    fn answered<'py>(&self, py: Python<'py>, answers: &Answers) -> PyResult<Bound<'py, PyAny>> {
        let numpy = py.import("numpy")?;
        if self.kind == TaskKind::Number {
            return Ok(answers.numbers.to_pyarray(py).into_any());
        }
        if self.kind == TaskKind::OneOf && !self.abstains {
            let labels = numpy.call_method1("array", (&self.labels,))?;
            let chosen: Vec<i64> = answers.likeliest.iter().map(|label| *label as i64).collect();
            return labels.call_method1("take", (chosen.into_pyarray(py),));
        }
        let names: Vec<_> = self.labels.iter().map(|label| PyString::new(py, label)).collect();
        let objects = numpy.call_method1("empty", (answers.labels.len(), "object"))?;
        for (text, labels) in answers.labels.iter().enumerate() {
            match self.kind {
                TaskKind::AnyOf => {
                    objects.set_item(text, PyTuple::new(py, labels.iter().map(|label| &names[*label]))?)?;
                }
                _ => objects.set_item(text, labels.first().map(|label| &names[*label]))?,
            }
        }
        Ok(objects)
    }

    /// The columns of its answers, those of `frosthead predict`; with all, the probability of every label, too.
    fn fields(&self, all: bool) -> Vec<Field> {
        let field = |name: String, kind, nullable| Field::new(name, kind, nullable);
        let [predicted, probability] = ["predicted", "probability"].map(|what| format!("{}_{what}", self.name));
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, false)));
        let mut fields = match self.kind {
            TaskKind::Number => {
                let ends = ["low", "high"].map(|end| field(format!("{}_{end}", self.name), DataType::Float32, false));
                let ends = ends.into_iter().filter(|_| self.bounds);
                return std::iter::once(field(predicted, DataType::Float32, false)).chain(ends).collect();
            }
            TaskKind::OneOf => vec![
                field(predicted, DataType::Utf8, self.abstains),
                field(probability, DataType::Float32, false),
            ],
            TaskKind::AnyOf => vec![
                field(predicted, list(DataType::Utf8), false),
                field(probability, list(DataType::Float32), false),
            ],
        };
        if self.abstains {
            fields.push(field(format!("{}_uncertain", self.name), DataType::Boolean, false));
        }
        let each = |label: &String| field(format!("{}_probability_{label}", self.name), DataType::Float32, false);
        fields.extend(self.labels.iter().filter(|_| all).map(each));
        fields
    }

    /// These columns.
    fn columns(&self, answers: &Answers, all: bool) -> Vec<ArrayRef> {
        let numbers = |numbers: &mut dyn Iterator<Item = f32>| -> ArrayRef {
            Arc::new(Float32Array::from_iter_values(numbers))
        };
        let mut columns = match self.kind {
            TaskKind::Number => {
                let end = |end: usize| numbers(&mut answers.bounds.iter().map(|bounds| bounds[end]));
                let ends = [0, 1].into_iter().filter(|_| self.bounds).map(end);
                return std::iter::once(numbers(&mut answers.numbers.iter().copied())).chain(ends).collect();
            }
            TaskKind::OneOf => self.column_of_one(answers),
            TaskKind::AnyOf => self.columns_of_several(answers),
        };
        if self.abstains {
            let uncertain = answers.labels.iter().map(|labels| Some(labels.is_empty()));
            columns.push(Arc::new(uncertain.collect::<BooleanArray>()));
        }
        let each = |label: usize| numbers(&mut answers.rows().map(|row| row[label]));
        columns.extend((0..self.labels.len()).filter(|_| all).map(each));
        columns
    }

    /// The label, and its probability.
    fn column_of_one(&self, answers: &Answers) -> Vec<ArrayRef> {
        let name = |labels: &Vec<usize>| labels.first().map(|label| &self.labels[*label]);
        let names: StringArray = answers.labels.iter().map(name).collect();
        let likeliest = answers.rows().zip(&answers.likeliest).map(|(row, label)| row[*label]);
        vec![Arc::new(names), Arc::new(Float32Array::from_iter_values(likeliest))]
    }

    /// The labels, and their probabilities.
    fn columns_of_several(&self, answers: &Answers) -> Vec<ArrayRef> {
        let offsets = OffsetBuffer::from_lengths(answers.labels.iter().map(Vec::len));
        let names = answers.labels.iter().flatten().map(|label| &self.labels[*label]);
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
        let probabilities = answers.rows().zip(&answers.labels);
        let probabilities = probabilities.flat_map(|(row, labels)| labels.iter().map(|label| row[*label]));
        let probabilities: ArrayRef = Arc::new(Float32Array::from_iter_values(probabilities));
        let list = |values: ArrayRef| -> ArrayRef {
            let item = Arc::new(Field::new_list_field(values.data_type().clone(), false));
            Arc::new(ListArray::new(item, offsets.clone(), values, None))
        };
        vec![list(names), list(probabilities)]
    }
}

/// A run or a bundle that labels texts, with the numbers that `frosthead predict` gives.
#[pyclass(frozen, module = "frosthead")]
pub struct Classifier {
    held: Held<Loaded>,
}

impl Classifier {
    fn answers(&self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Vec<Answers>> {
        let texts = Texts::of(texts)?;
        let texts = texts.all(py)?;
        let loaded = self.held.get(py)?;
        without_interpreter(py, |interrupts| loaded.answers(&texts, interrupts))
    }
}

#[pymethods]
impl Classifier {
    #[new]
    #[pyo3(signature = (path, *, backbone=None, trust=None, threads=None, device="cpu", onnxruntime=None, fingerprint=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        backbone: Option<PathBuf>,
        trust: Option<String>,
        threads: Option<usize>,
        device: &str,
        onnxruntime: Option<PathBuf>,
        fingerprint: Option<String>,
    ) -> PyResult<Self> {
        let options = Options {
            path: absolute(py, &path)?,
            backbone: backbone.map(|backbone| absolute(py, &backbone)).transpose()?,
            trust,
            running: Running::new(py, threads, device, onnxruntime)?,
        };
        Ok(Self { held: Held::open(py, options, fingerprint)? })
    }

    /// Per task, what is answered for every text.
    fn predict<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let answers = self.answers(py, texts)?;
        let found = PyDict::new(py);
        for (task, answers) in self.held.get(py)?.tasks.iter().zip(&answers) {
            found.set_item(&task.name, task.answered(py, answers)?)?;
        }
        Ok(found)
    }

    /// Per task, the probabilities of every text: a row for each, a column for each of its labels. A number has
    /// none: it is answered as it is, in one column.
    fn predict_proba<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let answers = self.answers(py, texts)?;
        let found = PyDict::new(py);
        for (task, answers) in self.held.get(py)?.tasks.iter().zip(answers) {
            found.set_item(&task.name, answers.matrix(py))?;
        }
        Ok(found)
    }

    /// A table with what every task says of its texts in more columns.
    #[pyo3(signature = (table, *, text=None, all_probabilities=false))]
    fn predict_arrow(
        slf: &Bound<'_, Self>,
        table: &Bound<'_, PyAny>,
        text: Option<TextNames>,
        all_probabilities: bool,
    ) -> PyResult<ArrowStream> {
        let loaded = slf.get().held.get(slf.py())?;
        let fields = loaded.tasks.iter().flat_map(|task| task.fields(all_probabilities)).collect();
        let own = slf.clone().unbind();
        let answer = move |py: Python<'_>| -> PyResult<Box<Answer>> {
            let loaded = own.get().held.get(py)?;
            Ok(Box::new(move |texts: &[Text<'_>], interrupts: &mut Interrupts| {
                let answers = loaded.answers(texts, interrupts)?;
                let columns = loaded.tasks.iter().zip(&answers);
                Ok(columns.flat_map(|(task, answers)| task.columns(answers, all_probabilities)).collect())
            }))
        };
        let text = text.map_or_else(|| loaded.text_columns(), |text| TextNames::or(Some(text), "text"));
        ArrowStream::new(table, Work { text, fields, answer: Box::new(answer) })
    }

    /// The tasks with their kinds: `one-of`, `any-of` or `number`.
    #[getter]
    fn kinds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kinds = PyDict::new(py);
        for task in &self.held.get(py)?.tasks {
            kinds.set_item(&task.name, task.kind.name())?;
        }
        Ok(kinds)
    }

    /// The tasks with their labels, in the order of the probabilities' columns; a number has none.
    #[getter]
    fn labels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let labels = PyDict::new(py);
        for task in &self.held.get(py)?.tasks {
            labels.set_item(&task.name, &task.labels)?;
        }
        Ok(labels)
    }

    /// Tokens of a text, at most; the rest is cut off, or read in windows.
    #[getter]
    fn max_length(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.held.get(py)?.max_length)
    }

    /// Where it lies.
    #[getter]
    fn path(&self) -> PathBuf {
        self.held.options().path.clone()
    }

    /// Names it: equal fingerprints, equal answers (on one kind of processor).
    #[getter]
    fn fingerprint(&self) -> &str {
        self.held.fingerprint()
    }

    fn __repr__(&self) -> String {
        format!("Classifier({:?})", self.held.options().path.display().to_string())
    }

    /// A pickle opens the same files where it is read, if they are the same there.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let Options { path, backbone, trust, running } = self.held.options();
        let keywords = PyDict::new(py);
        keywords.set_item("backbone", backbone.as_ref())?;
        keywords.set_item("trust", trust)?;
        running.keywords(&keywords)?;
        keywords.set_item("fingerprint", self.held.fingerprint())?;
        Ok((PyTuple::new(py, [path.as_os_str()])?, keywords))
    }
}

impl Loaded {
    /// The columns that it was trained with, or the usual one.
    fn text_columns(&self) -> Vec<String> {
        let (classifier, _) = &*self.classifier.lock().unwrap_or_else(PoisonError::into_inner);
        match classifier.model().text_columns() {
            Some(columns) => std::iter::once(columns.first).chain(columns.second).collect(),
            None => vec!["text".to_owned()],
        }
    }
}
