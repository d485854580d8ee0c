//! Owns the words of heads as a part of a graph: from token ids to what they add to a task's logits, in plain
//! ONNX, so that any runtime computes the same bits.
//!
//! Every piece and every pair of neighbours has a place (`tokens::Grams`), every place a row of whole
//! numbers, which are added up, so that neither batch nor padding nor processor can change a sum; then it is
//! scaled and divided by the root of the number of tokens. Refuses weights that do not fit the manifest.

#[cfg(feature = "train")]
use crate::encoder::ports;
#[cfg(feature = "train")]
use crate::error::Result;
use crate::graph::DataType;
#[cfg(feature = "train")]
use crate::graph::{self, Builder, Data, Dim, ModelProto, Operation, Value, ValueType};
#[cfg(feature = "train")]
use crate::heads::{Head, Words};
#[cfg(feature = "train")]
use crate::tokens::{Grams, PAIR_FACTORS};

/// The ids that pieces of a smaller vocabulary had in the whole one: one table for all heads of a bundle.
pub(super) const IDS: &str = "words.ids";

/// What a tensor of a head's words is called.
pub(super) fn tensor_name(task: &str, what: &str) -> String {
    format!("heads.{task}.words.{what}")
}

/// What the words of all tasks have in common.
#[cfg(feature = "train")]
pub(super) struct WordPlaces {
    /// The ids, `[batch, sequence]`.
    ids: Value,
    /// 1 for what is there, 0 for padding, of every piece and pair: i32 `[batch, places]`.
    there: Value,
    /// The root of the number of tokens, `[batch, 1]`.
    root: Value,
    /// The places of pieces and pairs, i64 `[batch, places]`, by the smaller vocabulary's ids and places.
    made: Vec<(Grams, Value)>,
}

#[cfg(feature = "train")]
fn batch() -> Dim {
    Dim::from("batch")
}

#[cfg(feature = "train")]
fn sequence(element: DataType) -> ValueType {
    ValueType::new(element, [batch(), "sequence".into()])
}

#[cfg(feature = "train")]
fn placed(element: DataType) -> ValueType {
    ValueType::new(element, [batch(), "places".into()])
}

#[cfg(feature = "train")]
impl WordPlaces {
    /// Behind the ids and their mask.
    ///
    /// # Errors
    /// A name is taken.
    pub fn new(graph: &mut Builder) -> Result<Self> {
        let ids = graph.input(ports::INPUT_IDS, sequence(DataType::Int64))?;
        let mask = graph.input(ports::ATTENTION_MASK, sequence(DataType::Int64))?;
        let one = graph.integers("words/one", &[1], &[1])?;
        let count = Operation::new("ReduceSum", &[&mask, &one]).with("keepdims", 1);
        let count = graph.add(count, "words/count", ValueType::int64([batch(), 1.into()]))?;
        let count = Operation::new("Cast", &[&count]).with("to", DataType::Float as i64);
        let count = graph.add(count, "words/tokens", ValueType::float([batch(), 1.into()]))?;
        let root = graph.add_like(Operation::new("Sqrt", &[&count]), "words/root", &count)?;
        let pairs = from_second(graph, &mask, "words/pairs_there")?;
        let there = Operation::new("Concat", &[&mask, &pairs]).with("axis", 1);
        let there = graph.add(there, "words/all_there", placed(DataType::Int64))?;
        let there = Operation::new("Cast", &[&there]).with("to", DataType::Int32 as i64);
        let there = graph.add(there, "words/there", placed(DataType::Int32))?;
        Ok(Self { ids, there, root, made: Vec::new() })
    }

    /// The places of every piece and pair.
    fn places(&mut self, graph: &mut Builder, words: &Words) -> Result<Value> {
        if let Some((_, value)) = self.made.iter().find(|(grams, _)| *grams == words.grams) {
            return Ok(value.clone());
        }
        let (grams, number) = (&words.grams, self.made.len());
        let name = |what: &str| format!("words/{what}.{number}");
        let mut hashed = self.ids.clone();
        if let Some(ids) = &grams.ids {
            let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
            let table = graph.integers(IDS, &[ids.len()], &ids)?;
            hashed =
                graph.add_like(Operation::new("Gather", &[&table, &hashed]), &name("hashed"), &self.ids)?;
        }
        let left = before_last(graph, &hashed, &name("left"))?;
        let right = from_second(graph, &hashed, &name("right"))?;
        let mut of_side = |side: &Value, factor: u64, what: &str| {
            let factor = graph.integers(&name(&format!("{what}_factor")), &[], &[factor as i64])?;
            graph.add_like(Operation::new("Mul", &[side, &factor]), &name(&format!("{what}_part")), side)
        };
        let (left, right) =
            (of_side(&left, PAIR_FACTORS[0], "left")?, of_side(&right, PAIR_FACTORS[1], "right")?);
        let sum = graph.add_like(Operation::new("Add", &[&left, &right]), &name("mixed"), &left)?;
        let pairs = graph.integers(&name("pairs"), &[], &[grams.pairs as i64])?;
        let rest = graph.add_like(Operation::new("Mod", &[&sum, &pairs]), &name("bucket"), &sum)?;
        let pieces = graph.integers(&name("pieces"), &[], &[grams.pieces as i64])?;
        let pair = graph.add_like(Operation::new("Add", &[&rest, &pieces]), &name("pair"), &rest)?;
        let places = Operation::new("Concat", &[&self.ids, &pair]).with("axis", 1);
        let places = graph.add(places, &name("places"), placed(DataType::Int64))?;
        self.made.push((grams.clone(), places.clone()));
        Ok(places)
    }

    /// What the words of a task add to its logits: [`ports::words`], f32 `[batch, classes]`.
    ///
    /// # Errors
    /// A name is taken.
    pub fn add(&mut self, graph: &mut Builder, task: &str, words: &Words) -> Result<Value> {
        let places = self.places(graph, words)?;
        let (classes, rows) = (words.classes(), words.rows() + 1);
        let (element, bytes) = index_bytes(&words.index, rows);
        let index = ValueType::new(element, [Dim::Size(words.index.len())]);
        let index = graph.initializer(&tensor_name(task, "index"), index, Data::Inline(bytes))?;
        let (element, bytes) = code_bytes(words);
        let codes = ValueType::new(element, [Dim::Size(rows), Dim::Size(classes)]);
        let codes = graph.initializer(&tensor_name(task, "codes"), codes, Data::Inline(bytes))?;
        let scales = graph.floats(&tensor_name(task, "scales"), &[classes], &words.scales)?;
        let name = |what: &str| format!("heads/{task}/words/{what}");
        let found = graph.type_of(&index)?.element;
        let row = graph.add(Operation::new("Gather", &[&index, &places]), &name("found"), placed(found))?;
        let row = Operation::new("Cast", &[&row]).with("to", DataType::Int32 as i64);
        let row = graph.add(row, &name("row"), placed(DataType::Int32))?;
        // Padding has row 0, which is nothing.
        let row = graph.add_like(Operation::new("Mul", &[&row, &self.there]), &name("rows"), &row)?;
        let wide = |element| ValueType::new(element, [batch(), "places".into(), classes.into()]);
        let coded = graph.add(Operation::new("Gather", &[&codes, &row]), &name("coded"), wide(element))?;
        let coded = Operation::new("Cast", &[&coded]).with("to", DataType::Int32 as i64);
        let coded = graph.add(coded, &name("weights"), wide(DataType::Int32))?;
        let axis = graph.integers(&name("axis"), &[1], &[1])?;
        let narrow = |element| ValueType::new(element, [batch(), classes.into()]);
        let sum = Operation::new("ReduceSum", &[&coded, &axis]).with("keepdims", 0);
        let sum = graph.add(sum, &name("sum"), narrow(DataType::Int32))?;
        let sum = Operation::new("Cast", &[&sum]).with("to", DataType::Float as i64);
        let sum = graph.add(sum, &name("whole"), narrow(DataType::Float))?;
        let scaled = graph.add_like(Operation::new("Mul", &[&sum, &scales]), &name("scaled"), &sum)?;
        graph.add_like(Operation::new("Div", &[&scaled, &self.root]), &ports::words(task), &scaled)
    }
}

/// All but the first of a sequence.
#[cfg(feature = "train")]
fn from_second(graph: &mut Builder, all: &Value, name: &str) -> Result<Value> {
    part(graph, all, [1, i64::MAX], name)
}

/// All but the last of a sequence.
#[cfg(feature = "train")]
fn before_last(graph: &mut Builder, all: &Value, name: &str) -> Result<Value> {
    part(graph, all, [0, -1], name)
}

#[cfg(feature = "train")]
fn part(graph: &mut Builder, all: &Value, [first, behind]: [i64; 2], name: &str) -> Result<Value> {
    let mut bound = |what: &str, value: i64| graph.integers(&format!("{name}/{what}"), &[1], &[value]);
    let (first, behind, axis) = (bound("first", first)?, bound("behind", behind)?, bound("axis", 1)?);
    let element = graph.type_of(all)?.element;
    let shape = ValueType::new(element, [batch(), "pairs".into()]);
    graph.add(Operation::new("Slice", &[all, &first, &behind, &axis]), name, shape)
}

/// The rows of places in the narrowest type that holds them.
#[cfg(feature = "train")]
fn index_bytes(index: &[u32], rows: usize) -> (DataType, Vec<u8>) {
    if rows <= 1 << 16 {
        return (DataType::Uint16, index.iter().flat_map(|row| (*row as u16).to_le_bytes()).collect());
    }
    (DataType::Int32, index.iter().flat_map(|row| (*row as i32).to_le_bytes()).collect())
}

/// The codes, in 8 bits where they are that small.
#[cfg(feature = "train")]
fn code_bytes(words: &Words) -> (DataType, Vec<u8>) {
    if words.in_bytes() {
        return (DataType::Int8, words.codes.iter().map(|code| *code as i8 as u8).collect());
    }
    (DataType::Int32, words.codes.iter().flat_map(|code| code.to_le_bytes()).collect())
}

/// The numbers of an index or of codes, from the bytes of their tensor; none where one is out of range.
pub(super) fn whole_numbers<T: TryFrom<i64>>(element: Option<DataType>, bytes: &[u8]) -> Option<Vec<T>> {
    fn all<T: TryFrom<i64>>(numbers: impl Iterator<Item = i64>) -> Option<Vec<T>> {
        numbers.map(|number| T::try_from(number).ok()).collect()
    }
    match element? {
        DataType::Int8 => all(bytes.iter().map(|byte| i64::from(*byte as i8))),
        DataType::Uint16 => {
            all(bytes.as_chunks().0.iter().map(|bytes| i64::from(u16::from_le_bytes(*bytes))))
        }
        DataType::Int32 => all(bytes.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes)))),
        DataType::Int64 => all(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes))),
        _ => None,
    }
}

/// Puts what the words of heads add to their logits behind a backbone's graph, as outputs [`ports::words`].
///
/// # Errors
/// A name is taken.
#[cfg(feature = "train")]
pub fn append_words(model: &mut ModelProto, heads: &[Head]) -> Result<()> {
    let mut part = Builder::new("words");
    let mut places = WordPlaces::new(&mut part)?;
    for head in heads {
        if let Some(words) = &head.words {
            let added = places.add(&mut part, &head.task, words)?;
            part.output(&added)?;
        }
    }
    if let (Some(graph), Some(part)) = (model.graph.as_mut(), part.finish()?.graph) {
        graph::append(graph, part);
    }
    Ok(())
}
