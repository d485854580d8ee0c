//! Owns a stream of Arrow → the same stream with features beside its rows.
//!
//! Refuses to hold more than a batch, and to remember a text: every row is computed.

use std::io::Write;
use std::ops::Range;

use super::embedder::Progress;
use super::extractor::{Extractor, Work};
use super::layout::RowLayout;
use super::table::TextNotes;
use crate::backbone::Backbone;
use crate::data::{
    AnswerColumn, AnswerField, AnswerKind, ArrowInput, ArrowOutput, ArrowRows, EMBEDDING, FEATURES,
    TextColumns,
};
use crate::encoder::FeatureChoice;
use crate::error::Result;
use crate::runtime::Load;

/// What to embed of a stream.
#[derive(Debug)]
pub struct StreamRequest {
    /// Its text column, or both of pairs.
    pub text: TextColumns,
    /// Beside `embedding`, a column `features` holds this choice, when it is another.
    pub features: FeatureChoice,
    /// Empty texts and NUL bytes are errors.
    pub strict: bool,
}

/// Loads a network for few texts or for many.
pub type LoadNetwork<'l> = dyn FnMut(Load) -> Result<Extractor> + 'l;

/// Embeds a stream, and writes it with its features as it comes. `load` gives what computes rows that hold
/// the choice of features.
///
/// # Errors
/// The stream is damaged or has no such texts, or computing or writing fails.
pub fn embed_stream(
    (backbone, load): (&Backbone, &mut LoadNetwork<'_>),
    request: &StreamRequest,
    mut input: ArrowInput,
    out: impl Write,
    progress: &mut dyn FnMut(&Progress),
) -> Result<TextNotes> {
    let columns = columns(backbone, request.features)?;
    let fields: Vec<AnswerField> = columns
        .iter()
        .map(|(name, place)| AnswerField::new(*name, AnswerKind::Vector(place.len())))
        .collect();
    let mut output = ArrowOutput::create(out, &input, &request.text, &fields)?;
    let mut network = Network { load, loaded: None, notes: TextNotes::default() };
    while let Some(rows) = input.next_rows()? {
        let embedded = network.embed(&rows, request, &columns);
        output.write(&rows, embedded.map_err(|error| error.or_at(input.name()))?)?;
        progress(&Progress::of_rows(network.notes.rows));
    }
    output.finish()?;
    Ok(network.told())
}

/// What is written, and where in a row it lies.
fn columns(backbone: &Backbone, features: FeatureChoice) -> Result<Vec<(&'static str, Range<usize>)>> {
    let layout = RowLayout::of(backbone, features);
    let mut columns = vec![(EMBEDDING, layout.embedding())];
    columns.retain(|(_, place)| !place.is_empty());
    if features != FeatureChoice::Last || columns.is_empty() {
        columns.push((FEATURES, layout.columns(features)?));
    }
    Ok(columns)
}

/// A network that is loaded once there are texts.
struct Network<'n, 'l> {
    load: &'n mut LoadNetwork<'l>,
    loaded: Option<(Extractor, Load)>,
    /// Without what the loaded one cut off.
    notes: TextNotes,
}

impl Network<'_, '_> {
    /// The network, loaded for so many texts.
    fn ready_for(&mut self, texts: usize) -> Result<&mut Extractor> {
        let wanted = Load::of_texts(texts);
        let loaded = match self.loaded.take() {
            Some((extractor, load)) if load == Load::Many || wanted == load => (extractor, load),
            other => {
                if let Some((extractor, _)) = other {
                    // It goes before the other one takes its memory.
                    self.count(extractor.work());
                }
                ((self.load)(wanted)?, wanted)
            }
        };
        Ok(&mut self.loaded.insert(loaded).0)
    }

    fn count(&mut self, work: &Work) {
        self.notes.truncation += work.truncation;
        self.notes.windowed += work.windowed;
    }

    /// What was odd about all texts.
    fn told(mut self) -> TextNotes {
        if let Some((extractor, _)) = self.loaded.take() {
            self.count(extractor.work());
        }
        self.notes
    }

    fn embed(
        &mut self,
        rows: &ArrowRows,
        request: &StreamRequest,
        columns: &[(&str, Range<usize>)],
    ) -> Result<Vec<AnswerColumn<'static>>> {
        let texts = rows.texts(&request.text)?;
        for (row, text) in texts.iter().enumerate() {
            self.notes.add(rows.number(row), *text, request.strict)?;
        }
        let mut vectors: Vec<Vec<f32>> =
            columns.iter().map(|(_, place)| vec![0.0; place.len() * texts.len()]).collect();
        let extracted = self.ready_for(texts.len())?.extract(&texts, &mut |text, row| {
            for ((_, place), vectors) in columns.iter().zip(&mut vectors) {
                vectors[text * place.len()..][..place.len()].copy_from_slice(&row[place.clone()]);
            }
            Ok(())
        });
        extracted.map_err(|error| error.row_of_text(|text| Some(rows.number(text))))?;
        let widths = columns.iter().map(|(_, place)| place.len());
        Ok(widths.zip(vectors).map(|(width, numbers)| AnswerColumn::Vectors(width, numbers)).collect())
    }
}
