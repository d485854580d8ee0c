//! Owns the 8-bit forms of an encoder's products, the 8- and 4-bit ones of its embedding tables: which tensors
//! each needs, and the operators that compute with them.
//!
//! Refuses to choose numbers: scales and codes are `quantize`'s work. Every form here is one of ONNX
//! Runtime's own operators, so a graph with one has [`Operators::Fused`](super::Operators).

use super::ports::batch;
use super::products::{Form, Product, TableForm};
use super::tensors::WORDS;
use super::transformer::Encoder;
use crate::error::{Error, Kind, Result};
use crate::graph::{DataType, Dim, Operation, Value, ValueType};

/// How exactly `MatMulNBits` computes: 1 is 32-bit floats. Its 8-bit arithmetic (4) is a fifth faster in
/// batches, yet loses 2.6 times as much (demo texts: smallest cosine 0.9966, not 0.9990), and in larger
/// blocks its rows depend on the batch.
const FLOAT_ACCURACY: i64 = 1;

impl Encoder<'_> {
    /// rows · weightᵀ + bias for the matrix `tensor` of a product: `[tokens, outputs]`.
    pub(super) fn product(
        &mut self,
        rows: &Value,
        product: Product,
        tensor: &str,
        name: &str,
    ) -> Result<Value> {
        self.product_inputs.insert(product, rows.clone());
        let operation = match self.form(product) {
            None => {
                let weight = self.weight(&format!("{tensor}.weight"))?;
                Operation::new("Gemm", &[rows, &weight]).with("transB", 1)
            }
            Some(Form::Blocks { block }) => {
                let [codes, scales] = self.coded(tensor)?;
                let inputs = self.last_size(rows)?;
                Operation::microsoft("MatMulNBits", &[rows, &codes, &scales])
                    .input(None)
                    .input(None)
                    .with("K", inputs as i64)
                    .with("N", (self.last_size(&scales)? / inputs.div_ceil(block)) as i64)
                    .with("bits", 8)
                    .with("block_size", block as i64)
                    .with("accuracy_level", FLOAT_ACCURACY)
            }
            Some(Form::Integers { smoothed }) => {
                let [rows, scale, zero] = self.integer_rows(rows, product, smoothed)?;
                let [codes, scales] = self.coded(tensor)?;
                Operation::microsoft("MatMulIntegerToFloat", &[&rows, &codes, &scale, &scales, &zero])
                    .input(None)
            }
        };
        let bias = self.weight(&format!("{tensor}.bias"))?;
        let outputs = self.last_size(&bias)?;
        let value_type = ValueType::float(["tokens".into(), outputs.into()]);
        self.graph.add(operation.input(Some(&bias)), name, value_type)
    }

    /// The rows of a product in 8 bits, with their scale and zero point; made once for all its matrices.
    fn integer_rows(&mut self, rows: &Value, product: Product, smoothed: bool) -> Result<[Value; 3]> {
        if let Some(made) = self.integer_rows.get(&product) {
            return Ok(made.clone());
        }
        let mut value_type = self.graph.type_of(rows)?.clone();
        let mut rows = rows.clone();
        if smoothed {
            let factors = self.weight(&format!("{product}.smoothing"))?;
            let smooth = Operation::new("Mul", &[&rows, &factors]);
            rows = self.graph.add(smooth, &format!("{product}.smoothed"), value_type.clone())?;
        }
        let scale = self.weight(&format!("{product}.scale"))?;
        let zero = self.weight(&format!("{product}.zero"))?;
        value_type.element = DataType::Uint8;
        let quantize = Operation::new("QuantizeLinear", &[&rows, &scale, &zero]);
        let rows = self.graph.add(quantize, &format!("{product}.rows"), value_type)?;
        let made = [rows, scale, zero];
        self.integer_rows.insert(product, made.clone());
        Ok(made)
    }

    fn last_size(&self, value: &Value) -> Result<usize> {
        match self.graph.type_of(value)?.shape.last() {
            Some(Dim::Size(size)) => Ok(*size),
            _ => Err(Error::new(Kind::Graph, "the width of rows is open; this is a bug")),
        }
    }

    /// Codes and scales of a matrix or table.
    fn coded(&mut self, name: &str) -> Result<[Value; 2]> {
        Ok([self.weight(&format!("{name}.codes"))?, self.weight(&format!("{name}.scales"))?])
    }

    /// The rows of the word table that the token ids name, `[batch, sequence, hidden]`.
    pub(super) fn word_rows(&mut self, ids: &Value, name: &str) -> Result<Value> {
        if let Some(TableForm::Blocks { block }) = self.table_form(WORDS) {
            return self.word_rows_of_blocks(ids, block, name);
        }
        let gather = |source: &Value| Operation::new("Gather", &[source, ids]).with("axis", 0);
        self.table_rows(WORDS, name, &[batch(), "sequence".into()], &gather)
    }

    /// The rows of a word table in 4 bits. ONNX Runtime's operator computes nothing but the rows named; of
    /// an id beyond the table, which `Gather` refuses, it would make zeros: no tokenizer is let in that has one.
    fn word_rows_of_blocks(&mut self, ids: &Value, block: usize, name: &str) -> Result<Value> {
        let [codes, scales] = self.coded(WORDS)?;
        let zeros = self.weight(&format!("{WORDS}.zeros"))?;
        let gather = Operation::microsoft("GatherBlockQuantized", &[&codes, ids, &scales, &zeros])
            .with("bits", 4)
            .with("block_size", block as i64)
            .with("gather_axis", 0)
            .with("quantize_axis", 1);
        let floats = ValueType::float([batch(), "sequence".into(), self.hidden()]);
        let halves = ValueType::new(DataType::Float16, floats.shape.clone());
        // Its numbers have the type of the scales.
        let halves = self.graph.add(gather, &format!("{name}/halves"), halves)?;
        self.graph.add(Operation::new("Cast", &[&halves]).with("to", DataType::Float as i64), name, floats)
    }

    /// The rows of an embedding table that `choose` takes; of one in 8 bits only those become floats. A table
    /// in 4 bits is not for it.
    pub(super) fn table_rows(
        &mut self,
        table: &str,
        name: &str,
        shape: &[Dim],
        choose: &dyn Fn(&Value) -> Operation,
    ) -> Result<Value> {
        let rows = |width: Dim| [shape, &[width]].concat();
        let floats = ValueType::float(rows(self.hidden()));
        match self.table_form(table) {
            None => {
                let table = self.weight(table)?;
                return self.graph.add(choose(&table), name, floats);
            }
            Some(TableForm::Rows) => (),
            Some(TableForm::Blocks { .. }) => {
                return Err(Error::new(Kind::Graph, "only the word table may be in 4 bits; this is a bug")
                    .found(table));
            }
        }
        let [codes, scales] = self.coded(table)?;
        let coded = ValueType::new(DataType::Int8, rows(self.hidden()));
        let codes = self.graph.add(choose(&codes), &format!("{name}/codes"), coded)?;
        let cast = Operation::new("Cast", &[&codes]).with("to", DataType::Float as i64);
        let numbers = self.graph.add(cast, &format!("{name}/numbers"), floats.clone())?;
        let one = ValueType::float(rows(1.into()));
        let scales = self.graph.add(choose(&scales), &format!("{name}/scales"), one)?;
        self.graph.add(Operation::new("Mul", &[&numbers, &scales]), name, floats)
    }
}
