//! Owns `Classifier`: texts → what every task says of them, as arrays, or as columns beside a table's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{ArrayRef, Float32Array, StringArray};
use arrow_schema::{DataType, Field};
use frosthead::internal::classifier::Model;
use frosthead::internal::fingerprint::{Fields, Fingerprint};
use frosthead::internal::runtime::Load;
use frosthead::internal::tuning;
use frosthead::{OpenOptions, Result, TaskPrediction, Text};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray as _, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

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

/// A task's name and its labels.
struct Task {
    name: String,
    labels: Vec<String>,
}

/// What a task says of texts.
struct Answers {
    /// Per text, the most probable label.
    labels: Vec<usize>,
    /// `[texts, labels]`.
    probabilities: Vec<f32>,
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
        let heads = classifier.heads().iter();
        let tasks = heads.map(|head| Task { name: head.task.clone(), labels: head.labels.clone() }).collect();
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
        let empty = |task: &Task| Answers {
            labels: vec![0; texts.len()],
            probabilities: vec![0.0; texts.len() * task.labels.len()],
        };
        let mut answers: Vec<Answers> = self.tasks.iter().map(empty).collect();
        for (place, window) in texts.chunks(WINDOW_ROWS).enumerate() {
            let before = place * WINDOW_ROWS;
            let answered = classifier.predict_each(window, &mut |text, predictions| {
                for (answers, prediction) in answers.iter_mut().zip(predictions) {
                    answers.put(before + text, &prediction);
                }
                interrupts.check()
            });
            answered.map_err(|error| error.map_text(|text| before + text))?;
        }
        Ok(answers)
    }
}

impl Answers {
    fn put(&mut self, text: usize, prediction: &TaskPrediction) {
        let probabilities = &prediction.probabilities;
        self.labels[text] = prediction.label;
        self.probabilities[text * probabilities.len()..][..probabilities.len()]
            .copy_from_slice(probabilities);
    }

    /// The probabilities of a label, or of each text's own.
    fn column(&self, labels: usize, which: Option<usize>) -> ArrayRef {
        let rows = self.probabilities.chunks_exact(labels).zip(&self.labels);
        Arc::new(Float32Array::from_iter_values(rows.map(|(row, own)| row[which.unwrap_or(*own)])))
    }
}

impl Task {
    /// The columns of its answers: `TASK_predicted`, `TASK_probability`, and, with all, one for each label.
    fn fields(&self, all: bool) -> Vec<Field> {
        let field = |name: String, kind| Field::new(name, kind, false);
        let mut fields = vec![
            field(format!("{}_predicted", self.name), DataType::Utf8),
            field(format!("{}_probability", self.name), DataType::Float32),
        ];
        let each = |label: &String| field(format!("{}_probability_{label}", self.name), DataType::Float32);
        fields.extend(self.labels.iter().filter(|_| all).map(each));
        fields
    }

    fn columns(&self, answers: &Answers, all: bool) -> Vec<ArrayRef> {
        let names = answers.labels.iter().map(|label| &self.labels[*label]);
        let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(names))];
        columns.push(answers.column(self.labels.len(), None));
        let each = (0..self.labels.len()).filter(|_| all);
        columns.extend(each.map(|label| answers.column(self.labels.len(), Some(label))));
        columns
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

    /// Per task, the label of every text.
    fn predict<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let answers = self.answers(py, texts)?;
        let (found, numpy) = (PyDict::new(py), py.import("numpy")?);
        for (task, answers) in self.held.get(py)?.tasks.iter().zip(answers) {
            let labels = numpy.call_method1("array", (&task.labels,))?;
            let chosen: Vec<i64> = answers.labels.iter().map(|label| *label as i64).collect();
            found.set_item(&task.name, labels.call_method1("take", (chosen.into_pyarray(py),))?)?;
        }
        Ok(found)
    }

    /// Per task, the probabilities of every text: a row for each, a column for each of its labels.
    fn predict_proba<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let answers = self.answers(py, texts)?;
        let found = PyDict::new(py);
        for (task, Answers { labels, probabilities }) in self.held.get(py)?.tasks.iter().zip(answers) {
            let matrix = Array2::from_shape_vec((labels.len(), task.labels.len()), probabilities);
            let matrix = matrix.expect("as many numbers as rows times columns: other ones are a bug");
            let matrix: Bound<'py, PyArray2<f32>> = matrix.into_pyarray(py);
            found.set_item(&task.name, matrix)?;
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

    /// The tasks with their labels, in the order of the probabilities' columns.
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
