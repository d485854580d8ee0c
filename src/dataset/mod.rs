//! Owns labelled rows with their features in memory: from a table of texts through the feature store, or from
//! a Parquet of features made by `embed` or elsewhere.
//!
//! Refuses to keep texts unless asked to, and to change the order of rows.

use std::ops::Range;
use std::path::{Path, PathBuf};

#[cfg(feature = "train")]
use crate::data::Classes;
use crate::data::{
    Cell, CellForm, FeatureColumns, KeptColumn, Source, Spellings, TableReader, TextColumns,
    read_labelled_features,
};
use crate::embed::{
    Embedder, FeatureRows, MadeWith, Progress, RowLayout, TextNotes, check_columns, visit_rows,
};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, TextKey};
use crate::heads::FeatureView;
use crate::recognize::Thing;
use crate::tensors::bytes_of;
use crate::text::OwnedText;

/// Where labelled rows come from.
#[derive(Debug, Clone)]
pub enum Input {
    /// A table of texts, or of pairs; features come from a backbone.
    Texts {
        /// The table.
        source: Source,
        /// Its text column, or both of pairs.
        columns: TextColumns,
    },
    /// A Parquet of features; no backbone is needed.
    Features {
        /// The file.
        path: PathBuf,
        /// Its feature column; by default `embedding`, or the only column of number lists.
        column: Option<String>,
    },
}

impl Input {
    /// A table of texts by its path, whose extension says the format, and its text column.
    ///
    /// # Errors
    /// No table has such an extension.
    pub fn texts(path: impl AsRef<Path>, column: &str) -> Result<Self> {
        Ok(Self::Texts { source: Source::file(path)?, columns: column.into() })
    }

    /// A table of pairs of texts by its path, whose extension says the format, and both text columns. It is
    /// read with a backbone that was opened for pairs (`Backbone::reading`).
    ///
    /// # Errors
    /// No table has such an extension.
    pub fn pairs(path: impl AsRef<Path>, [first, second]: [&str; 2]) -> Result<Self> {
        let columns = TextColumns::new(first, Some(second));
        Ok(Self::Texts { source: Source::file(path)?, columns })
    }

    /// The file's path; `None` for standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Texts { source, .. } => source.path.as_deref(),
            Self::Features { path, .. } => Some(path),
        }
    }

    /// An error of this input, which names its file.
    #[must_use]
    pub fn named(&self, error: Error) -> Error {
        match self.path() {
            Some(path) => error.at(path),
            None => error,
        }
    }

    /// Hash of the file.
    ///
    /// # Errors
    /// It is standard input, which cannot be read twice, or cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of_file(self.file()?)
    }

    /// The file, which can be read as often as one likes.
    ///
    /// # Errors
    /// It is standard input or a pipe.
    pub fn file(&self) -> Result<&Path> {
        match self.path() {
            Some(path) if Thing::of(path) != Thing::Stream => Ok(path),
            path => Err(Error::new(Kind::Usage, "training reads its data more than once")
                .at(path.unwrap_or(Path::new("-")))
                .found(if path.is_some() { "a pipe" } else { "standard input" })
                .expected("a file")
                .help("save it to a file first")),
        }
    }
}

/// Which columns to read beside the features.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns<'c> {
    /// Columns whose answers are kept.
    pub kept: &'c [KeptColumn],
    /// Keep the texts too.
    pub texts: bool,
}

/// Rows with their features, in the input's order.
#[derive(Debug, Default)]
pub struct Dataset {
    /// Identity of each row's text.
    pub keys: Vec<TextKey>,
    /// The texts are known by their vectors only: these keys equal no other's.
    pub by_vector: bool,
    /// `cells[column][row]`, in the order of [`Columns::kept`]: what [`KeptColumn::read`] keeps, `None` where
    /// that is nothing.
    pub cells: Vec<Vec<Option<String>>>,
    /// Per column, how its labels are written.
    pub spellings: Vec<Spellings>,
    /// The texts, when they were asked for and the input has them.
    pub texts: Vec<OwnedText>,
    /// Of the stored rows what was loaded, or a Parquet's vectors.
    pub features: FeatureRows,
    /// What the stored rows hold; none for a Parquet of features.
    pub layout: Option<RowLayout>,
    /// What was odd about the texts.
    pub notes: TextNotes,
    /// What a Parquet of features says it was made with.
    pub made_with: Option<MadeWith>,
}

impl Dataset {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.keys.len()
    }

    /// These places of the stored rows (or of a Parquet's vectors), of every row; they were loaded before.
    #[must_use]
    pub fn view(&self, columns: &Range<usize>) -> FeatureView<'_> {
        self.features.view(columns)
    }

    /// Where a choice of features lies.
    ///
    /// # Errors
    /// The stored rows do not have it; or the rows are a Parquet's vectors, which are what they are.
    pub fn columns(&self, choice: FeatureChoice) -> Result<Range<usize>> {
        match &self.layout {
            Some(layout) => layout.columns(choice),
            None => Ok(self.features.places()),
        }
    }

    /// Brings these places of every row's stored features into memory, in place of what was there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(&mut self, embedder: &Embedder, columns: Range<usize>) -> Result<()> {
        self.features = embedder.read_rows(&self.keys, columns)?;
        Ok(())
    }

    /// Reads an input, as [`Self::from_texts`] or [`Self::from_features`]; errors name its file.
    ///
    /// # Errors
    /// As theirs, or a table of texts has no embedder.
    pub fn read(
        input: &Input,
        columns: Columns<'_>,
        strict: bool,
        embedder: Option<&mut Embedder>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self> {
        match (input, embedder) {
            (Input::Texts { source, columns: text }, Some(embedder)) => {
                Self::from_texts(embedder, source, text, columns, strict, progress)
            }
            (Input::Features { path, column }, _) => Self::from_features(path, column.as_deref(), columns),
            (Input::Texts { .. }, None) => Err(Error::new(Kind::Usage, "a table of texts needs a backbone")
                .help("say --backbone models/NAME, or give a Parquet of features")),
        }
        .map_err(|error| input.named(error))
    }

    /// Reads a table of texts, computing and storing the features that are not stored yet; [`Self::load`]
    /// brings them into memory.
    ///
    /// # Errors
    /// The table is malformed or lacks a column, or embedding fails.
    pub fn from_texts(
        embedder: &mut Embedder,
        source: &Source,
        text: &TextColumns,
        columns: Columns<'_>,
        strict: bool,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self> {
        check_columns(embedder.backbone(), text)?;
        let mut reader = TableReader::open(source)?;
        let text = reader.text(text)?;
        let kept = columns.kept.iter().map(|kept| Ok((reader.kept(kept)?, kept)));
        let kept = kept.collect::<Result<Vec<_>>>()?;
        let layout = Some(embedder.layout());
        let (cells, spellings) = (vec![Vec::new(); kept.len()], vec![Spellings::default(); kept.len()]);
        let mut dataset = Self { layout, cells, spellings, ..Self::default() };
        let notes = visit_rows(embedder, &mut reader, text, strict, progress, &mut |_, visit| {
            dataset.keys.push(visit.key);
            let written = dataset.cells.iter_mut().zip(&mut dataset.spellings);
            for ((cells, spellings), (column, kept)) in written.zip(&kept) {
                let cell = &visit.row.cells[*column];
                cells.push(read(kept, cell, spellings).map_err(|error| error.row(visit.row.number))?);
            }
            if columns.texts {
                dataset.texts.push(visit.text.owned());
            }
            Ok(())
        })?;
        dataset.notes = notes;
        Ok(dataset)
    }

    /// Reads a Parquet of features. A row's text is known by the column `text_hash` when there is one, else
    /// by the bytes of its vector: one text has one embedding.
    ///
    /// # Errors
    /// The file is unreadable, lacks a column, or holds vectors that are not all of one length and finite.
    pub fn from_features(path: &Path, column: Option<&str>, columns: Columns<'_>) -> Result<Self> {
        let asked = FeatureColumns { vectors: column, cells: columns.kept, texts: columns.texts };
        let table = read_labelled_features(path, &asked)?;
        let made_with = MadeWith::of(&table.metadata, &table.column);
        let by_vector = table.keys.is_none();
        let keys = table
            .keys
            .unwrap_or_else(|| table.features.chunks_exact(table.width.max(1)).map(vector_key).collect());
        let (mut cells, mut spellings) = (Vec::new(), Vec::new());
        for (found, kept) in table.cells.iter().zip(columns.kept) {
            let mut met = Spellings::default();
            let read = (1..)
                .zip(found)
                .map(|(row, cell)| read(kept, cell, &mut met).map_err(|error| error.row(row)));
            cells.push(read.collect::<Result<Vec<_>>>()?);
            spellings.push(met);
        }
        let texts = table.texts.unwrap_or_default();
        let texts = texts.into_iter().map(|first| OwnedText { first, second: None }).collect();
        let notes = TextNotes { rows: keys.len() as u64, ..TextNotes::default() };
        let features = FeatureRows::new(0..table.width, table.features);
        Ok(Self { keys, by_vector, cells, spellings, texts, features, notes, made_with, layout: None })
    }
}

/// Gives labels that one table of a training writes as texts and another (or the same) as numbers one name.
pub fn name_alike(tables: &mut [&mut Dataset]) {
    let columns = tables.first().map_or(0, |table| table.cells.len());
    for column in 0..columns {
        let mut spellings = Spellings::default();
        tables.iter().for_each(|table| spellings.extend(&table.spellings[column]));
        for cell in tables.iter_mut().flat_map(|table| &mut table.cells[column]) {
            if let Some(name) = cell.as_deref().and_then(|label| spellings.name(label)) {
                *cell = Some(name.to_owned());
            }
        }
    }
}

/// Keeps classes out of their tasks whose rows have one text only; numbers have none.
#[cfg(feature = "train")]
pub fn keep_out_single(rows: &mut Dataset, kept: &[KeptColumn]) {
    for (cells, kept) in rows.cells.iter_mut().zip(kept) {
        if kept.form != CellForm::Number {
            let lists = kept.takes_lists();
            Classes::count(lists, &rows.keys, cells).keep_out_single(lists, cells);
        }
    }
}

/// What is kept of a cell; how a single label is spelled is noted.
fn read(kept: &KeptColumn, cell: &Cell, spellings: &mut Spellings) -> Result<Option<String>> {
    if kept.form == CellForm::Label {
        spellings.add(cell);
    }
    kept.read(cell)
}

/// The identity of a text that is known by its vector only.
#[must_use]
pub fn vector_key(vector: &[f32]) -> TextKey {
    TextKey::of_bytes(&bytes_of(vector))
}
