//! Owns batches of Arrow with texts in them: the texts of their rows, and the same batches with answers
//! beside them.
//!
//! Refuses a text that is null, a column that is not text, and an answer that is called like a column that is
//! there. What is carried is carried as it is.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::answers::{AnswerColumn, AnswerField};
use super::header::TextColumns;
use crate::error::{Error, Kind, Result, quoted};
use crate::text::Text;

/// What somebody else's Arrow says of itself when it fails.
#[must_use]
pub fn of_arrow(error: ArrowError) -> Error {
    Error::new(Kind::Table, "the Arrow data cannot be read").because(error)
}

/// Hands on every text of a column, of which `before` rows came before.
///
/// # Errors
/// It is not text, or a text is null.
pub fn texts_of<'a>(
    column: &'a dyn Array,
    before: u64,
    name: &str,
    each: &mut dyn FnMut(&'a str),
) -> Result<()> {
    let texts = strings(column).ok_or_else(|| no_text(name, column.data_type()))?;
    for (row, text) in texts.into_iter().enumerate() {
        each(text.ok_or_else(|| {
            Error::new(Kind::Table, "a text is missing")
                .row(before + row as u64 + 1)
                .column(name)
                .found("null")
                .expected("a text")
                .help("leave such rows out, or fill them")
        })?);
    }
    Ok(())
}

/// The strings of an array, if it is one of strings.
fn strings(array: &dyn Array) -> Option<Vec<Option<&str>>> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        DataType::Null => vec![None; array.len()],
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = strings(&**dictionary.values())?;
            if values.is_empty() {
                return Some(vec![None; array.len()]);
            }
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            keys.map(|(row, key)| if dictionary.keys().is_null(row) { None } else { values[key] }).collect()
        }
        _ => return None,
    })
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn no_text(name: &str, kind: &DataType) -> Error {
    Error::new(Kind::Table, "the column is not text")
        .column(name)
        .found(kind.to_string())
        .expected("Utf8, LargeUtf8, Utf8View, or a dictionary of them")
        .help("choose another column, or cast this one to strings")
}

/// The columns of a table, and those of its answers behind them.
///
/// # Errors
/// The table has no such texts, or a column that is called like an answer.
pub fn answered_schema(schema: &Schema, text: &TextColumns, answers: &[AnswerField]) -> Result<SchemaRef> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    for name in text.names() {
        let mut found = schema.fields().iter().filter(|field| field.name() == name);
        let Some(field) = found.next() else {
            let error = Error::new(Kind::Table, "there is no such column")
                .column(name)
                .found(format!("columns {}", names.join(", ")))
                .help("say which one holds the text");
            return Err(text.explain(name, error));
        };
        if found.next().is_some() {
            return Err(Error::new(Kind::Table, "several columns have the same name").column(name));
        }
        if !is_text(field.data_type()) {
            return Err(no_text(name, field.data_type()));
        }
    }
    if let Some(taken) = answers.iter().find(|answer| names.contains(&answer.name.as_str())) {
        return Err(Error::new(Kind::Table, "the table has a column that is called like an answer")
            .column(&taken.name)
            .found(format!("two columns {}", quoted(&taken.name)))
            .help("rename that column, or leave it out"));
    }
    let answers = answers.iter().map(|answer| Arc::new(answer.field()));
    let fields: Vec<Arc<Field>> = schema.fields().iter().cloned().chain(answers).collect();
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The texts of a batch's rows, or their pairs; `before` rows came before it.
///
/// # Errors
/// As [`texts_of`].
///
/// # Panics
/// The batch has no such columns, which [`answered_schema`] would have said.
pub fn texts_of_rows<'b>(batch: &'b RecordBatch, before: u64, text: &TextColumns) -> Result<Vec<Text<'b>>> {
    let column = |name: &str| {
        let column = batch.column_by_name(name).expect("it was looked for: its absence is a bug");
        let mut texts = Vec::with_capacity(column.len());
        texts_of(&**column, before, name, &mut |text| texts.push(text))?;
        Ok(texts)
    };
    let first = column(&text.first)?;
    Ok(match &text.second {
        None => first.into_iter().map(Text::one).collect(),
        Some(second) => {
            first.into_iter().zip(column(second)?).map(|(first, second)| Text::pair(first, second)).collect()
        }
    })
}

/// A batch with its answers, of the schema that [`answered_schema`] gave.
///
/// # Errors
/// They are not of that schema, or not as many as rows.
pub fn answered(
    batch: &RecordBatch,
    schema: &SchemaRef,
    answers: Vec<AnswerColumn<'_>>,
) -> Result<RecordBatch> {
    let answers = answers.into_iter().map(AnswerColumn::array);
    let columns = batch.columns().iter().cloned().chain(answers).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(of_arrow)
}
