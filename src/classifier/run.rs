//! Owns the run directory: `recipe.toml`, `heads.safetensors`, `fit.json`, `metrics.json`,
//! `rows.safetensors`, and `checksums.json`, by which each of them is checked (`run_files.rs`).
//!
//! Refuses to hold a text: of the rows it keeps only hashes, so that evaluation can tell what was seen in
//! training.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::run_files::RunFiles;
use crate::data::{Format, KeptColumn, Part, Rare, Reading, SEPARATOR, TextColumns};
use crate::document;
use crate::embed::RowLayout;
use crate::encoder::{ChangedTensors, FeatureChoice};
use crate::error::{Error, Kind, Result};
use crate::finetune::LayerOptions;
use crate::fingerprint::{Fingerprint, TextKey};
use crate::heads::{self, FitOptions, Head};
use crate::recognize::{Thing, Wanted};
use crate::task::TaskKind;
use crate::tensors::{Dtype, TensorFile, Tensors};
use crate::tokens::LongTexts;

/// The version of the run directory this program writes, and the newest it reads.
pub const FORMAT: u32 = 5;
/// The oldest it reads, which has no hashes of all files.
pub const WITHOUT_HASHES: u32 = 4;
/// File names in a run directory.
pub const RECIPE: &str = "recipe.toml";
pub const HEADS: &str = "heads.safetensors";
pub const FIT: &str = "fit.json";
pub const METRICS: &str = "metrics.json";
pub const SCORES: &str = "scores.json";
pub const ROWS: &str = "rows.safetensors";
pub const CHANGED: &str = "backbone.safetensors";
pub const TRAINING: &str = "training.json";
pub const PROOF: &str = "proof.json";
pub const DEPTHS: &str = "depths.json";

/// Everything needed to repeat a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the run directory's format.
    pub format: u32,
    /// The version of frosthead that made it.
    pub frosthead: String,
    /// Label columns, in the order of the heads.
    pub tasks: Vec<String>,
    /// Seed of every draw.
    pub seed: u64,
    /// Hash of all inputs and options: the same again means there is nothing to do.
    pub inputs: Fingerprint,
    /// Of tasks that are not of the usual kind, which they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, TaskKind>,
    pub data: DataRecipe,
    pub split: SplitRecipe,
    /// How the heads were fitted.
    pub heads: FitOptions,
    /// What the heads see.
    pub features: FeaturesRecipe,
    /// The backbone the features came from, when it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneRecipe>,
    /// What was frozen and how the rest was trained, when it is not just heads on a frozen backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecipe>,
}

/// How a part of the network was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecipe {
    /// The values of `--freeze`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The values of `--unfreeze`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfreeze: Vec<usize>,
    /// What is frozen in the end, for people.
    pub frozen: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_heads: Option<String>,
    #[serde(flatten)]
    pub options: LayerOptions,
    /// What each task's loss counts.
    pub shares: Vec<f32>,
    /// Hash of `backbone.safetensors`, when training changed tensors of the backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Fingerprint>,
    /// Hash of `heads.safetensors`, by which a run of format 4 is checked.
    pub heads: Fingerprint,
    /// Whether training was asked to end early: the same command goes on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// Where the rows came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecipe {
    /// The text column; absent when the run was trained on cached features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column of the second texts; absent when texts are read one by one. Features of pairs have one, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_text: Option<String>,
    /// The feature column, when it is not the file's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features_column: Option<String>,
    /// Whether the rows of features are known by their vectors, not by their texts; runs of earlier versions
    /// do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_vector: Option<bool>,
    /// The rows that were split.
    pub table: TableRecipe,
    /// Validation rows of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<TableRecipe>,
    /// Test rows of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TableRecipe>,
    /// What became of classes with a single row.
    #[serde(default, skip_serializing_if = "Rare::is_default")]
    pub rare: Rare,
    /// What stands between the labels of a cell, when it is not the usual text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
}

impl DataRecipe {
    /// The text column, or both of pairs; none when the run was trained on cached features of texts. What the
    /// first texts of cached features of pairs were in is not known.
    #[must_use]
    pub fn text_columns(&self) -> Option<TextColumns> {
        let second = self.second_text.as_deref();
        let first = self.text.as_deref().or(second.map(|_| TextColumns::DEFAULT))?;
        Some(TextColumns::new(first, second))
    }
}

/// A table, so that it can be read again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableRecipe {
    pub path: String,
    /// Of the file.
    pub fingerprint: Fingerprint,
    pub format: Format,
    /// What was asked for of how it is read.
    #[serde(default, skip_serializing_if = "Reading::is_default")]
    pub reading: Reading,
}

/// How the rows were split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRecipe {
    pub test_fraction: f64,
    pub valid_fraction: f64,
}

/// What the heads see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesRecipe {
    /// What was asked for: a choice, `auto`, or `column`: vectors of a Parquet file.
    pub asked: String,
    /// What happens to texts beyond the model's limit.
    pub long: LongTexts,
    /// Bytes a fit could take; runs of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit_memory: Option<u64>,
    /// Per task.
    pub tasks: BTreeMap<String, TaskFeatures>,
}

/// What one head sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFeatures {
    /// Absent for vectors made elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<FeatureChoice>,
    /// Numbers in a feature vector.
    pub width: usize,
}

/// Which backbone a run belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneRecipe {
    pub name: String,
    pub fingerprint: Fingerprint,
    /// Layers that are run, where not all of its layers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// How the depth was chosen; absent where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<ChosenDepth>,
    /// Where it lay; absent when the run was trained on cached features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
}

/// How the depth of a run was chosen: the shallowest that is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenDepth {
    /// Points that a task might lose against the deepest …
    pub max_drop: f64,
    /// … of the depths, 0 and up.
    pub deepest: usize,
}

/// The texts of a run, by hash, and the part each was in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SplitRows(HashMap<TextKey, Part>);

/// A run directory that has been opened and checked.
#[derive(Debug)]
pub struct Run {
    pub directory: PathBuf,
    pub files: RunFiles,
    pub recipe: Recipe,
    pub heads: Vec<Head>,
}

impl Run {
    /// Opens a run directory.
    ///
    /// # Errors
    /// It is not a run directory, has another format, a file was changed, or its heads do not fit its
    /// recipe.
    pub fn open(directory: &Path) -> Result<Self> {
        let (files, recipe) = Recipe::open_with_files(directory)?;
        let path = directory.join(HEADS);
        let heads = heads::read(&files.read(HEADS)?).map_err(|error| again(error, &path))?;
        let names: Vec<&str> = heads.iter().map(|head| head.task.as_str()).collect();
        let width = |task: &str| recipe.features.tasks.get(task).map(|seen| seen.width);
        if names != recipe.tasks || heads.iter().any(|head| width(&head.task) != Some(head.features)) {
            return Err(Error::new(Kind::Run, "the heads do not fit the run's recipe")
                .at(path)
                .found(listed(names.iter().zip(&heads).map(|(task, head)| (*task, head.features))))
                .expected(listed(recipe.tasks.iter().map(|task| (task.as_str(), width(task).unwrap_or(0)))))
                .help("train the run again"));
        }
        Ok(Self { directory: directory.to_path_buf(), files, recipe, heads })
    }

    /// What a head sees; none for vectors made elsewhere.
    #[must_use]
    pub fn choice(&self, task: &str) -> Option<FeatureChoice> {
        self.recipe.features.tasks.get(task)?.choice
    }

    /// What a head sees, in words.
    #[must_use]
    pub fn sees(&self, head: &Head) -> String {
        let choice = self.choice(&head.task).unwrap_or_default();
        match (choice, head.words.is_some()) {
            (FeatureChoice::Nothing, _) => "words".to_owned(),
            (_, true) => format!("{choice}+words"),
            (_, false) => choice.to_string(),
        }
    }

    /// What each head sees of a stored row, in the heads' order.
    ///
    /// # Errors
    /// The rows do not hold a head's features, or the run was trained on features made elsewhere.
    pub fn columns(&self, layout: &RowLayout) -> Result<Vec<Range<usize>>> {
        let of = |head: &Head| match self.choice(&head.task) {
            Some(choice) => layout.columns(choice),
            None => Err(Error::new(Kind::Run, "the run was trained on features made elsewhere")
                .at(&self.directory)
                .task(&head.task)
                .help("give it a Parquet of such features")),
        };
        self.heads.iter().map(of).collect()
    }

    /// What rows for its heads hold.
    #[must_use]
    pub fn stored(&self) -> FeatureChoice {
        FeatureChoice::holding(self.recipe.features.tasks.values().filter_map(|seen| seen.choice))
    }

    /// The tensors of the backbone that training changed, with their hash; none when it changed none.
    ///
    /// # Errors
    /// The file is missing, or is not the one that training wrote.
    pub fn changed(&self) -> Result<Option<(ChangedTensors, Fingerprint)>> {
        let Some(expected) = self.recipe.changed() else { return Ok(None) };
        let path = self.directory.join(CHANGED);
        let bytes = self.files.read(CHANGED)?;
        let file = Tensors::read(&bytes, Kind::Run)?;
        let tensors = file.names().into_iter().map(|name| Ok((name.to_owned(), file.floats(name)?.1)));
        let tensors = tensors.collect::<Result<_>>().map_err(|error| error.at(&path))?;
        Ok(Some((tensors, expected)))
    }

    /// Per task, the classes with a single row each, whose rows were kept out of it (`--rare drop`).
    ///
    /// # Errors
    /// `metrics.json` cannot be read, or was changed.
    pub fn kept_out(&self) -> Result<BTreeMap<String, Vec<String>>> {
        if self.recipe.data.rare != Rare::Drop {
            return Ok(BTreeMap::new());
        }
        let metrics: Counted = self.json(METRICS)?;
        Ok(metrics.classes.into_iter().map(|(task, classes)| (task, classes.single)).collect())
    }

    /// Which texts were in which part.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn rows(&self) -> Result<SplitRows> {
        SplitRows::read(&self.files.read(ROWS)?).map_err(|error| again(error, &self.directory.join(ROWS)))
    }

    /// What a file of JSON says.
    ///
    /// # Errors
    /// It is missing, was changed, or is something else.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        document::json(&self.files.read(name)?, Kind::Run, "a file of the run cannot be read")
            .map_err(|error| again(error, &self.directory.join(name)))
    }
}

/// What is read of `metrics.json`.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    classes: BTreeMap<String, Counts>,
}

#[derive(Deserialize)]
struct Counts {
    /// Classes whose rows have one text only.
    #[serde(default)]
    single: Vec<String>,
}

/// The bytes of `backbone.safetensors`; `shape` gives each tensor's shape.
///
/// # Errors
/// A tensor has none.
pub fn changed_bytes(
    tensors: &ChangedTensors,
    shape: &dyn Fn(&str) -> Option<Vec<usize>>,
) -> Result<Vec<u8>> {
    let mut file = TensorFile::default();
    for (name, numbers) in tensors {
        let shape = shape(name)
            .ok_or_else(|| Error::new(Kind::Run, "a trained tensor has no shape").tensor(name.as_str()))?;
        file.add_floats(name, &shape, numbers);
    }
    Ok(file.to_bytes())
}

/// Tasks with the numbers their heads see, for a message.
fn listed<'t>(tasks: impl Iterator<Item = (&'t str, usize)>) -> String {
    tasks.map(|(task, width)| format!("{task} on {width} features")).collect::<Vec<_>>().join(", ")
}

/// The error of a file that is not what it must be.
fn again(error: Error, path: &Path) -> Error {
    error.at(path).help("train the run again")
}

impl Recipe {
    /// Reads a run's recipe.
    ///
    /// # Errors
    /// There is none, it has another format, or it was changed.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with_files(directory).map(|(_, recipe)| recipe)
    }

    /// The same with the other files of the run, each to be read with its hash checked.
    ///
    /// # Errors
    /// As [`Self::open`]; the list of the files is missing or damaged.
    pub fn open_with_files(directory: &Path) -> Result<(RunFiles, Self)> {
        let path = directory.join(RECIPE);
        let bytes = std::fs::read(&path).map_err(|source| match Thing::of(directory) {
            Thing::Run => Error::io("read", &path, source),
            thing => thing.instead_of(Wanted::Run, Some(directory)),
        })?;
        let mut files = RunFiles::open(directory)?;
        // What was edited is told more precisely than by a hash, where its reader sees it.
        let recipe = Self::parse(&bytes).map_err(|error| {
            error.at(&path).help(
                "undo the change, use the version of frosthead that made it, or train it again (--overwrite)",
            )
        })?;
        let trained = recipe.training.as_ref();
        let known = [(HEADS, trained.map(|training| training.heads)), (CHANGED, recipe.changed())];
        let known: Vec<_> = known.into_iter().filter_map(|(name, hash)| Some((name, hash?))).collect();
        files.settle(recipe.format > WITHOUT_HASHES, &known)?;
        files.check(RECIPE, &bytes)?;
        Ok((files, recipe))
    }

    /// The columns of the tasks with how they are read.
    #[must_use]
    pub fn columns(&self) -> Vec<KeptColumn> {
        let separator = self.data.separator.as_deref().unwrap_or(SEPARATOR);
        let kind = |task: &String| self.kinds.get(task).copied().unwrap_or_default();
        let column = |task: &String| KeptColumn { name: task.clone(), form: kind(task).form(separator) };
        self.tasks.iter().map(column).collect()
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let what = "this is not a run's recipe";
        let text = std::str::from_utf8(bytes)
            .map_err(|source| Error::new(Kind::Run, what).found("bytes that are no UTF-8").because(source))?;
        document::versioned_toml(text, &(WITHOUT_HASHES..=FORMAT), Kind::Run, what)
    }

    /// Hash of the tensors that training changed, if it changed any.
    fn changed(&self) -> Option<Fingerprint> {
        self.training.as_ref()?.changed
    }

    /// The recipe as it is written.
    ///
    /// # Errors
    /// Never for a recipe made by this program.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self)
            .map_err(|source| Error::new(Kind::Run, "the recipe cannot be written").because(source))
    }
}

impl SplitRows {
    /// The rows of a split.
    #[must_use]
    pub fn new(rows: impl IntoIterator<Item = (TextKey, Part)>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// The part a text was in, if the run knew it.
    #[must_use]
    pub fn part(&self, key: &TextKey) -> Option<Part> {
        self.0.get(key).copied()
    }

    /// The file's bytes: three tensors `train`, `valid`, `test` of sorted 16-byte hashes, `[texts, 16]` u8.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = TensorFile::default();
        for (name, part) in PARTS {
            let mut keys: Vec<[u8; 16]> =
                self.0.iter().filter(|(_, of)| **of == part).map(|(key, _)| key.0).collect();
            keys.sort_unstable();
            file.add(name, Dtype::U8, &[keys.len(), 16], keys.concat());
        }
        file.to_bytes()
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let file = Tensors::read(bytes, Kind::Run)?;
        let mut rows = HashMap::new();
        for (name, part) in PARTS {
            let tensor = file.get(name, Dtype::U8)?;
            let [_, 16] = tensor.shape() else {
                return Err(Error::new(Kind::Run, "the run's list of rows is damaged").tensor(name));
            };
            rows.extend(tensor.data().as_chunks().0.iter().map(|key| (TextKey(*key), part)));
        }
        Ok(Self(rows))
    }
}

const PARTS: [(&str, Part); 3] = [("train", Part::Train), ("valid", Part::Valid), ("test", Part::Test)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_split_round_trip_in_any_order() {
        let rows: Vec<(TextKey, Part)> =
            (0..100).map(|number| (TextKey::of(&number.to_string()), PARTS[number % 3].1)).collect();
        let split = SplitRows::new(rows.iter().copied());
        let backwards = SplitRows::new(rows.iter().rev().copied());
        let bytes = split.to_bytes();
        assert_eq!(bytes, backwards.to_bytes());
        assert_eq!(SplitRows::read(&bytes).unwrap(), split);
        assert_eq!(split.part(&TextKey::of("1")), Some(Part::Valid));
        assert_eq!(split.part(&TextKey::of("other")), None);
    }

    #[test]
    fn the_bytes_of_rows_and_of_changed_tensors_do_not_change() {
        let keys = ["a", "b", "c", "d"].map(TextKey::of);
        let parts = [Part::Train, Part::Valid, Part::Test, Part::Train];
        let rows = SplitRows::new(keys.into_iter().zip(parts)).to_bytes();
        let tensors = [("b".to_owned(), vec![1.0, 2.0]), ("a".to_owned(), vec![0.5; 6])].into();
        let shape = |name: &str| Some(if name == "a" { vec![2, 3] } else { vec![2] });
        let changed = changed_bytes(&tensors, &shape).unwrap();
        let hashes = [rows, changed].map(|bytes| Fingerprint::of_bytes(&bytes).short());
        assert_eq!(hashes, ["2714feeb8b76", "a4723b4d0e5c"]);
    }

    #[test]
    fn a_damaged_list_of_rows_is_refused() {
        let bytes = SplitRows::new([(TextKey::of("a"), Part::Test)]).to_bytes();
        for damaged in [&bytes[..bytes.len() - 1], b"", b"not safetensors at all"] {
            assert_eq!(SplitRows::read(damaged).unwrap_err().kind(), Kind::Run);
        }
        assert!(
            SplitRows::read(&TensorFile::default().to_bytes()).unwrap_err().to_string().contains("train")
        );
    }

    #[test]
    fn a_directory_that_is_no_run_says_how_to_make_one() {
        let directory = tempfile::tempdir().unwrap();
        let error = Run::open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Run);
        assert!(error.remedy().unwrap().contains("frosthead train"));
    }

    /// What version 0.1 wrote of a run whose layers were trained.
    const OLD: &str = r#"
format = 4
frosthead = "0.1.0"
tasks = ["domain"]
seed = 13
inputs = "0000000000000000000000000000000000000000000000000000000000000000"

[data]
text = "text"

[data.table]
path = "/data.csv"
fingerprint = "0000000000000000000000000000000000000000000000000000000000000000"
format = "csv"

[split]
test_fraction = 0.2
valid_fraction = 0.1

[heads]
alpha = "100"
class_weight = "balanced"

[features]
asked = "last"
long = "truncate"

[features.tasks.domain]
choice = "last"
width = 384

[training]
unfreeze = [0, 1]
frozen = "embeddings, layers 0-4"
head_init = "random"
epochs = 2
learning_rate = 0.001
head_rate = 5.0
layer_decay = 0.9
warm_up = 0.1
weight_decay = 0.01
clip = 1.0
dropout = 0.1
patience = 2
token_budget = 512
states = "f32"
shares = [1.0]
heads = "0000000000000000000000000000000000000000000000000000000000000000"
"#;

    #[test]
    fn recipes_of_earlier_versions_are_read_and_strange_fields_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let open = |text: &str| {
            std::fs::write(directory.path().join(RECIPE), text).unwrap();
            Recipe::open(directory.path())
        };
        let recipe = open(OLD).unwrap();
        let options = recipe.training.as_ref().unwrap().options.clone();
        assert_eq!((options.epochs, options.train_tokens, options.learning_rate), (2, 512, 1e-3));
        assert_eq!(
            (options.head_init.to_string(), options.states.to_string()),
            ("random".into(), "f32".into())
        );
        assert_eq!(recipe.heads.class_weight, heads::ClassWeight::Balanced);
        // As it is written today it says the same, with the options under their own names.
        let written = recipe.to_toml().unwrap();
        assert!(
            written.contains("train_tokens = 512") && written.contains("learning_rate = 0.001"),
            "{written}"
        );
        assert_eq!(open(&written).unwrap(), recipe);
        let error = open(&OLD.replace("patience = 2", "patiense = 2")).unwrap_err().to_string();
        assert!(error.contains("patiense"), "{error}");
        let error = open(&OLD.replace("epochs = 2", "epochs = \"two\"")).unwrap_err().to_string();
        assert!(error.contains("recipe.toml") && error.contains("two"), "{error}");
    }

    #[test]
    fn a_newer_run_is_refused_with_both_versions() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(RECIPE), "format = 99\nnew_things = true\n").unwrap();
        let error = Recipe::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("format 99") && error.contains(&format!("to {FORMAT}")), "{error}");
    }
}
