//! Owns columns of answers that stand beside a table's own: their names, what they hold, and the same as
//! Arrow's.

#[cfg(feature = "parquet")]
use std::sync::Arc;

#[cfg(feature = "parquet")]
use arrow_array::builder::{ArrayBuilder, Float32Builder, ListBuilder, StringBuilder};
#[cfg(feature = "parquet")]
use arrow_array::{ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, StringArray};
#[cfg(feature = "parquet")]
use arrow_schema::{DataType, Field, FieldRef};

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    Text,
    Number,
    Truth,
    /// Any number of texts in a row.
    Texts,
    /// Any number of numbers in a row.
    Numbers,
    /// So many numbers in a row.
    Vector(usize),
}

/// A column of answers, before there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerField {
    pub name: String,
    pub kind: AnswerKind,
    /// Some rows may have no answer.
    pub optional: bool,
}

impl AnswerField {
    /// A column with a value in every row.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: AnswerKind) -> Self {
        Self { name: name.into(), kind, optional: false }
    }
}

/// A column of answers.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerColumn<'a> {
    Texts(Vec<Option<&'a str>>),
    Numbers(Vec<f32>),
    Truths(Vec<bool>),
    TextLists(Vec<Vec<&'a str>>),
    NumberLists(Vec<Vec<f32>>),
    /// Vectors of so many numbers, one behind the other.
    Vectors(usize, Vec<f32>),
}

#[cfg(feature = "parquet")]
impl AnswerField {
    /// The column's field.
    #[must_use]
    pub fn field(&self) -> Field {
        let kind = match self.kind {
            AnswerKind::Text => DataType::Utf8,
            AnswerKind::Number => DataType::Float32,
            AnswerKind::Truth => DataType::Boolean,
            AnswerKind::Texts => DataType::List(item(DataType::Utf8)),
            AnswerKind::Numbers => DataType::List(item(DataType::Float32)),
            AnswerKind::Vector(width) => DataType::FixedSizeList(item(DataType::Float32), size(width)),
        };
        Field::new(&self.name, kind, self.optional)
    }
}

#[cfg(feature = "parquet")]
impl AnswerColumn<'_> {
    /// The same values as an array, of the type that its field says.
    #[must_use]
    pub fn array(self) -> ArrayRef {
        match self {
            Self::Texts(texts) => Arc::new(texts.into_iter().collect::<StringArray>()),
            Self::Numbers(numbers) => Arc::new(Float32Array::from(numbers)),
            Self::Truths(truths) => Arc::new(BooleanArray::from(truths)),
            Self::TextLists(rows) => lists(rows, StringBuilder::new(), DataType::Utf8, |builder, text| {
                builder.append_value(text);
            }),
            Self::NumberLists(rows) => {
                lists(rows, Float32Builder::new(), DataType::Float32, Float32Builder::append_value)
            }
            Self::Vectors(width, numbers) => {
                let values = Arc::new(Float32Array::from(numbers));
                Arc::new(FixedSizeListArray::new(item(DataType::Float32), size(width), values, None))
            }
        }
    }
}

#[cfg(feature = "parquet")]
fn lists<V, B: ArrayBuilder>(rows: Vec<Vec<V>>, values: B, kind: DataType, put: fn(&mut B, V)) -> ArrayRef {
    let mut builder = ListBuilder::new(values).with_field(item(kind));
    for row in rows {
        row.into_iter().for_each(|value| put(builder.values(), value));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

#[cfg(feature = "parquet")]
fn item(kind: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(kind, false))
}

#[cfg(feature = "parquet")]
fn size(width: usize) -> i32 {
    i32::try_from(width).unwrap_or(i32::MAX)
}
