//! Owns `Embedder`: texts → a matrix, or a table with a column of vectors.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frosthead::internal::classifier::open_trusted_backbone;
use frosthead::internal::data::{AnswerColumn, AnswerField, AnswerKind, TextColumns};
use frosthead::internal::embed::{Extractor, RowLayout};
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::fingerprint::{Fields, Fingerprint};
use frosthead::internal::runtime::Load;
use frosthead::internal::tokens::WindowOptions;
use frosthead::internal::tuning;
use frosthead::{Backbone, EmbedOptions, LongTexts, Result, Runtime, Text};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray as _, PyArray2};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::arguments::{Running, absolute};
use crate::arrow::{Answer, ArrowStream, Give, WINDOW_ROWS, Work};
use crate::errors::{raised, usage};
use crate::held::{Held, Reopen};
use crate::interrupts::{Interrupts, without_interpreter};
use crate::texts::Texts;

/// How an embedder is opened.
pub struct Options {
    path: PathBuf,
    features: String,
    long: String,
    pairs: bool,
    cache: Option<PathBuf>,
    running: Running,
}

/// What turns texts into vectors.
enum Engine {
    /// Computes every text, and keeps nothing; loaded for few texts or for many.
    Computing(Option<(Box<Extractor>, Load)>),
    /// Takes what is in the feature store, computes the rest and keeps it.
    Storing(Box<frosthead::Embedder>),
}

/// An opened backbone.
pub struct Network {
    backbone: Arc<Backbone>,
    runtime: Arc<Runtime>,
    choice: FeatureChoice,
    long: LongTexts,
    /// Where in a row lies what was asked for.
    columns: Range<usize>,
    engine: Mutex<Engine>,
}

impl Reopen for Network {
    type Options = Options;

    fn open(options: &Options) -> Result<Self> {
        let runtime = Arc::new(Runtime::load(&options.running.options()?)?);
        let backbone = open_trusted_backbone(&options.path, None, Some(&runtime))?.reading(options.pairs)?;
        let backbone = Arc::new(backbone);
        let choice: FeatureChoice = options.features.parse()?;
        let long = match &*options.long {
            "truncate" => LongTexts::Truncate,
            "windows" => LongTexts::Windows(WindowOptions::within(backbone.positions())),
            other => {
                return Err(usage("texts cannot be read so")
                    .found(format!("long={other:?}"))
                    .expected("truncate or windows"));
            }
        };
        let columns = RowLayout::of(&backbone, choice).columns(choice)?;
        let (engine, columns) = match &options.cache {
            None => (Engine::Computing(None), columns),
            Some(root) => {
                let batching = tuning::apply(tuning::folder().as_deref(), &backbone, &runtime, Load::Many);
                let runtime = Arc::new(batching.runtime);
                let reading = EmbedOptions { batching: batching.batching, long, ..EmbedOptions::default() };
                let embedder = frosthead::Embedder::open(Arc::clone(&backbone), runtime, root, reading)?;
                let columns = embedder.columns(choice)?;
                (Engine::Storing(Box::new(embedder)), columns)
            }
        };
        Ok(Self { backbone, runtime, choice, long, columns, engine: Mutex::new(engine) })
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        let fields = Fields::new("frosthead embedder 1");
        let fields = fields.field("backbone", self.backbone.fingerprint().to_string());
        let fields = fields.field("features", self.choice.to_string()).field("long", self.long.to_string());
        Ok(fields.finish())
    }
}

impl Network {
    fn locked(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vectors of texts, one behind the other.
    fn vectors(&self, texts: &[Text<'_>], interrupts: &mut Interrupts) -> Result<Vec<f32>> {
        let mut numbers = vec![0.0; texts.len() * self.columns.len()];
        let mut engine = self.locked();
        let windows =
            texts.chunks(WINDOW_ROWS).zip(numbers.chunks_mut(WINDOW_ROWS * self.columns.len().max(1)));
        for (place, (texts, numbers)) in windows.enumerate() {
            let vectors = match &mut *engine {
                Engine::Computing(loaded) => self.compute(loaded, texts, numbers, interrupts),
                Engine::Storing(embedder) => self.look_up(embedder, texts, numbers, interrupts),
            };
            vectors.map_err(|error| error.map_text(|text| place * WINDOW_ROWS + text))?;
        }
        Ok(numbers)
    }

    fn compute(
        &self,
        loaded: &mut Option<(Box<Extractor>, Load)>,
        texts: &[Text<'_>],
        numbers: &mut [f32],
        interrupts: &mut Interrupts,
    ) -> Result<()> {
        let wanted = Load::of_texts(texts.len());
        if loaded.as_ref().is_none_or(|(_, load)| *load == Load::Few && wanted == Load::Many) {
            // Before the other one takes its memory.
            *loaded = None;
            *loaded = Some((Box::new(self.load(wanted)?), wanted));
        }
        let Some((extractor, _)) = loaded else { unreachable!("it was just loaded: its absence is a bug") };
        let width = self.columns.len();
        extractor.extract(texts, &mut |text, row| {
            numbers[text * width..][..width].copy_from_slice(&row[self.columns.clone()]);
            interrupts.check()
        })
    }

    fn load(&self, load: Load) -> Result<Extractor> {
        let tuned = tuning::apply(tuning::folder().as_deref(), &self.backbone, &self.runtime, load);
        let options = EmbedOptions { stored: self.choice, batching: tuned.batching, long: self.long, load };
        Extractor::new(Arc::clone(&self.backbone), &tuned.runtime, &options)
    }

    fn look_up(
        &self,
        embedder: &mut frosthead::Embedder,
        texts: &[Text<'_>],
        numbers: &mut [f32],
        interrupts: &mut Interrupts,
    ) -> Result<()> {
        // Few enough that an interrupt is heard in between.
        const AT_A_TIME: usize = 256;
        let keys: Vec<_> = texts.iter().map(|text| text.key()).collect();
        for (place, (texts, chunk)) in texts.chunks(AT_A_TIME).zip(keys.chunks(AT_A_TIME)).enumerate() {
            let stored = embedder.ensure(texts, chunk, &mut |_| ());
            stored.map_err(|error| error.map_text(|text| place * AT_A_TIME + text))?;
            interrupts.check()?;
        }
        embedder.finish()?;
        for (key, row) in keys.iter().zip(numbers.chunks_exact_mut(self.columns.len())) {
            embedder.read(key, self.columns.start, row)?;
        }
        Ok(())
    }
}

/// A frozen backbone that turns texts into vectors, the same bits as `frosthead embed` gives.
#[pyclass(frozen, module = "frosthead")]
pub struct Embedder {
    held: Held<Network>,
}

#[pymethods]
impl Embedder {
    #[new]
    #[pyo3(signature = (path, *, features="last", long="truncate", pairs=false, cache=None, threads=None, device="cpu",
                        onnxruntime=None, fingerprint=None))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        features: &str,
        long: &str,
        pairs: bool,
        cache: Option<PathBuf>,
        threads: Option<usize>,
        device: &str,
        onnxruntime: Option<PathBuf>,
        fingerprint: Option<String>,
    ) -> PyResult<Self> {
        let options = Options {
            path: absolute(py, &path)?,
            features: features.to_owned(),
            long: long.to_owned(),
            pairs,
            cache: cache.map(|cache| absolute(py, &cache)).transpose()?,
            running: Running::new(py, threads, device, onnxruntime)?,
        };
        Ok(Self { held: Held::open(py, options, fingerprint)? })
    }

    /// The vectors of texts: a matrix of float32 with a row for each.
    fn encode<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let texts = Texts::of(texts)?;
        let texts = texts.all(py)?;
        let network = self.held.get(py)?;
        let numbers = without_interpreter(py, |interrupts| network.vectors(&texts, interrupts))?;
        let matrix = Array2::from_shape_vec((texts.len(), network.columns.len()), numbers);
        Ok(matrix.expect("as many numbers as rows times columns: other ones are a bug").into_pyarray(py))
    }

    /// A table with its texts' vectors in one more column.
    #[pyo3(signature = (table, *, text=None, column="embedding"))]
    fn encode_arrow(
        slf: &Bound<'_, Self>,
        table: &Bound<'_, PyAny>,
        text: Option<TextNames>,
        column: &str,
    ) -> PyResult<ArrowStream> {
        let py = slf.py();
        let network = slf.get().held.get(py)?;
        let width = network.columns.len();
        let own = slf.clone().unbind();
        let answer = move |py: Python<'_>| -> PyResult<Box<Answer>> {
            let network = own.get().held.get(py)?;
            Ok(Box::new(move |texts: &[Text<'_>], interrupts: &mut Interrupts, give: Box<Give<'_>>| {
                give(vec![AnswerColumn::Vectors(width, network.vectors(texts, interrupts)?)])
            }))
        };
        let text = text.map_or_else(|| TextColumns::DEFAULT.into(), TextNames::columns);
        let text = fitting(text, network.backbone.reads_pairs()).map_err(|error| raised(py, &error))?;
        let fields = vec![AnswerField::new(column, AnswerKind::Vector(width))];
        ArrowStream::new(table, Work { text, fields, answer: Box::new(answer) })
    }

    /// Numbers in a vector.
    #[getter]
    fn dimensions(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.held.get(py)?.columns.len())
    }

    /// Tokens of a text, at most; the rest is cut off, or read in windows.
    #[getter]
    fn max_length(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.held.get(py)?.backbone.manifest().preparation.max_length)
    }

    /// Where the backbone lies.
    #[getter]
    fn path(&self) -> PathBuf {
        self.held.options().path.clone()
    }

    /// Names what is computed: equal fingerprints, equal vectors (on one kind of processor).
    #[getter]
    fn fingerprint(&self) -> &str {
        self.held.fingerprint()
    }

    fn __repr__(&self) -> String {
        format!("Embedder({:?})", self.held.options().path.display().to_string())
    }

    /// A pickle opens the same files where it is read, if they are the same there.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        let Options { path, features, long, pairs, cache, running } = self.held.options();
        let keywords = PyDict::new(py);
        keywords.set_item("features", features)?;
        keywords.set_item("long", long)?;
        keywords.set_item("pairs", pairs)?;
        keywords.set_item("cache", cache.as_ref())?;
        running.keywords(&keywords)?;
        keywords.set_item("fingerprint", self.held.fingerprint())?;
        Ok((PyTuple::new(py, [path.as_os_str()])?, keywords))
    }
}

/// The text column of a table, or both of pairs.
#[derive(Clone, FromPyObject)]
pub enum TextNames {
    One(String),
    Pair((String, String)),
}

impl TextNames {
    /// The columns of these names.
    pub fn columns(self) -> TextColumns {
        match self {
            Self::One(name) => TextColumns::new(&name, None),
            Self::Pair((first, second)) => TextColumns::new(&first, Some(&second)),
        }
    }
}

/// The columns, which are two where pairs are read and one where texts are.
///
/// # Errors
/// They are not.
pub fn fitting(columns: TextColumns, pairs: bool) -> Result<TextColumns> {
    let (what, expected) = match (columns.are_pairs(), pairs) {
        (true, false) => ("this model reads texts one by one", "the name of one column"),
        (false, true) => ("this model reads pairs of texts", "the names of two columns"),
        (true, true) | (false, false) => return Ok(columns),
    };
    let names: Vec<&str> = columns.names().collect();
    Err(usage(what).found(format!("text={}", names.join(", "))).expected(expected))
}
