//! Owns `Classifier`: texts → what every task says of them, as arrays, or as columns beside a table's.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use frosthead::internal::classifier::{Model, TaskAnswers};
use frosthead::internal::data::TextColumns;
use frosthead::internal::fingerprint::{Fields, Fingerprint};
use frosthead::internal::heads::Head;
use frosthead::internal::runtime::Load;
use frosthead::internal::task::TaskKind;
use frosthead::internal::tuning;
use frosthead::{OpenOptions, Result, Text};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray as _, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::arguments::{Running, absolute};
use crate::arrow::{Answer, ArrowStream, Give, WINDOW_ROWS, Work};
use crate::embedder::{TextNames, fitting};
use crate::errors::raised;
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
    heads: Vec<Head>,
    max_length: usize,
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
        let heads = classifier.heads().to_vec();
        let max_length = classifier.max_length();
        let classifier = Mutex::new((Arc::new(classifier), Load::Few));
        Ok(Self { options: options.clone(), classifier, heads, max_length })
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let (classifier, _) = &*self.classifier.lock().unwrap_or_else(PoisonError::into_inner);
        match classifier.model() {
            Model::Bundle(bundle) => Ok(bundle.fingerprint()),
            Model::Run(run) => {
                let heads = Fingerprint::of_file(run.directory.join("heads.safetensors"))?;
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
    fn answers(&self, texts: &[Text<'_>], interrupts: &mut Interrupts) -> Result<Vec<TaskAnswers<'_>>> {
        let classifier = self.ready_for(texts.len())?;
        let none = self.heads.iter().map(|head| TaskAnswers::none(head, texts.len()));
        let mut answers: Vec<TaskAnswers<'_>> = none.collect();
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

/// What is answered, as numpy has it: of one label an array of them (of objects, with `None` where it is left
/// away, if that can be), of several an array of tuples, the most probable first, of a number its array.
fn answered<'py>(py: Python<'py>, answers: TaskAnswers<'_>) -> PyResult<Bound<'py, PyAny>> {
    let (numpy, head) = (py.import("numpy")?, answers.head());
    if head.kind == TaskKind::Number {
        return Ok(answers.into_numbers().into_pyarray(py).into_any());
    }
    if head.kind == TaskKind::OneOf && !head.abstains() {
        let labels = numpy.call_method1("array", (&head.labels,))?;
        let chosen: Vec<i64> = answers.likeliest().iter().map(|label| *label as i64).collect();
        return labels.call_method1("take", (chosen.into_pyarray(py),));
    }
    let names: Vec<_> = head.labels.iter().map(|label| PyString::new(py, label)).collect();
    let objects = numpy.call_method1("empty", (answers.labels().len(), "object"))?;
    for (text, labels) in answers.labels().iter().enumerate() {
        match head.kind {
            TaskKind::AnyOf => {
                objects.set_item(text, PyTuple::new(py, labels.iter().map(|label| &names[*label]))?)?;
            }
            _ => objects.set_item(text, labels.first().map(|label| &names[*label]))?,
        }
    }
    Ok(objects)
}

/// What was said of each text, as a matrix of numpy: a row for each.
fn matrix<'py>(py: Python<'py>, answers: TaskAnswers<'_>) -> Bound<'py, PyArray2<f32>> {
    let shape = (answers.likeliest().len(), answers.head().labels.len());
    let matrix = Array2::from_shape_vec(shape, answers.into_numbers());
    matrix.expect("as many numbers as rows times columns: other ones are a bug").into_pyarray(py)
}

/// A run or a bundle that labels texts, with the numbers that `frosthead predict` gives.
#[pyclass(frozen, module = "frosthead")]
pub struct Classifier {
    held: Held<Loaded>,
}

impl Classifier {
    /// Per task, what `give` makes of its answers.
    fn each_task<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        give: impl Fn(TaskAnswers<'_>) -> PyResult<T>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let texts = Texts::of(texts)?;
        let texts = texts.all(py)?;
        let loaded = self.held.get(py)?;
        let answers = without_interpreter(py, |interrupts| loaded.answers(&texts, interrupts))?;
        let found = PyDict::new(py);
        for answers in answers {
            found.set_item(&answers.head().task, give(answers)?)?;
        }
        Ok(found)
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
        self.each_task(py, texts, |answers| answered(py, answers))
    }

    /// Per task, the probabilities of every text: a row for each, a column for each of its labels. A number
    /// has none: it is answered as it is, in one column.
    fn predict_proba<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        self.each_task(py, texts, |answers| Ok(matrix(py, answers)))
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
        let fields = loaded.heads.iter().flat_map(|head| head.answer_fields(all_probabilities)).collect();
        let own = slf.clone().unbind();
        let answer = move |py: Python<'_>| -> PyResult<Box<Answer>> {
            let loaded = own.get().held.get(py)?;
            Ok(Box::new(move |texts: &[Text<'_>], interrupts: &mut Interrupts, give: Box<Give<'_>>| {
                let answers = loaded.answers(texts, interrupts)?;
                give(answers.iter().flat_map(|answers| answers.columns(all_probabilities)).collect())
            }))
        };
        let known = loaded.text_columns();
        let pairs = known.are_pairs();
        let text = fitting(text.map_or(known, TextNames::columns), pairs);
        let text = text.map_err(|error| raised(slf.py(), &error))?;
        ArrowStream::new(table, Work { text, fields, answer: Box::new(answer) })
    }

    /// The tasks with their kinds: `one-of`, `any-of` or `number`.
    #[getter]
    fn kinds<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let kinds = PyDict::new(py);
        for head in &self.held.get(py)?.heads {
            kinds.set_item(&head.task, head.kind.name())?;
        }
        Ok(kinds)
    }

    /// The tasks with their labels, in the order of the probabilities' columns; a number has none.
    #[getter]
    fn labels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let labels = PyDict::new(py);
        for head in &self.held.get(py)?.heads {
            labels.set_item(&head.task, head.names())?;
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
    fn text_columns(&self) -> TextColumns {
        let (classifier, _) = &*self.classifier.lock().unwrap_or_else(PoisonError::into_inner);
        let model = classifier.model();
        let Some(known) = model.text_columns() else { return TextColumns::DEFAULT.into() };
        let from = Some(format!("which {} was trained with", model.path().display()));
        TextColumns { from, ..known }
    }
}
