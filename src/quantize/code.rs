//! Owns turning a network's matrices and tables into the tensors of a choice of forms.
//!
//! Refuses to say where the tensors lie: see `build`.

use std::collections::{BTreeMap, BTreeSet};

use super::calibration::{Calibration, Span, divided, row_scale, smoothing};
use super::continued::continue_channels;
use super::data_file::{Numbers, Tensors};
use super::nibbles::{self, Nibbles};
use super::numbers::{self, RowScale};
use crate::encoder::{Form, Matrix, Network, Part, Product, TableForm};
use crate::error::{Error, Kind, Result};
use crate::graph::{DataType, Dim, ValueType};
use crate::tensors::half_bytes_of;

/// Weights that share a scale in `w8`.
const BLOCK: usize = 32;

/// How a product is to be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Plain,
    Blocks,
    Integers,
}

/// Tensors in other forms.
#[derive(Default)]
pub(super) struct Coded {
    pub(super) products: BTreeMap<Product, Form>,
    pub(super) tables: BTreeMap<String, TableForm>,
    pub(super) tensors: Tensors,
    /// Canonical tensors that nothing refers to any more.
    pub(super) replaced: BTreeSet<String>,
}

impl Coded {
    /// Puts a layer's products into the chosen forms.
    pub(super) fn add_layer(
        &mut self,
        network: &Network<'_>,
        layer: usize,
        choices: &BTreeMap<Product, Choice>,
        calibration: Option<&Calibration>,
    ) -> Result<()> {
        let choice = |part| choices.get(&Product { layer, part }).copied().unwrap_or(Choice::Plain);
        let output = Product { layer, part: Part::Output };
        // The only product that shapes another one: channels of its rows are outputs of the one before.
        if choice(Part::Output) == Choice::Integers {
            let [mut before] = one(network.matrices(Product { layer, part: Part::Intermediate })?)?;
            let [mut after] = one(network.matrices(output)?)?;
            let spans = need(calibration)?.spans(output, after.inputs)?;
            let lowest = network.config.activation.identity_from();
            let rows = continue_channels(spans, lowest, &mut before, &mut after);
            // Copies, which are needed rarely, do not count when weights are rounded.
            let mut importance: Vec<f64> = spans.iter().map(|span| span.squares).collect();
            importance.resize(after.inputs, 0.0);
            self.add_integers(output, (rows, None), &importance, &[after]);
            self.add(
                Product { layer, part: Part::Intermediate },
                choice(Part::Intermediate),
                vec![before],
                calibration,
            )?;
        }
        for part in Part::ALL {
            let product = Product { layer, part };
            let done = self.products.contains_key(&product)
                || (part == Part::Intermediate && choice(Part::Output) == Choice::Integers);
            if !done && choice(part) != Choice::Plain {
                self.add(product, choice(part), network.matrices(product)?, calibration)?;
            }
        }
        Ok(())
    }

    /// Puts one product's matrices into a form.
    fn add(
        &mut self,
        product: Product,
        choice: Choice,
        mut matrices: Vec<Matrix>,
        calibration: Option<&Calibration>,
    ) -> Result<()> {
        match choice {
            Choice::Plain => {
                for matrix in matrices {
                    let shape = [matrix.outputs(), matrix.inputs];
                    self.floats(&matrix.weight_name(), &shape, &matrix.weight);
                    self.floats(&matrix.bias_name(), &shape[..1], &matrix.bias);
                }
            }
            Choice::Blocks => self.add_blocks(product, &matrices),
            Choice::Integers => {
                let inputs = matrices.first().map_or(0, |matrix| matrix.inputs);
                let spans = need(calibration)?.spans(product, inputs)?;
                let smoothed = product.part.follows_normalization();
                let importance = |spans: &[Span]| spans.iter().map(|span| span.squares).collect::<Vec<_>>();
                if !smoothed {
                    self.add_integers(product, (row_scale(spans), None), &importance(spans), &matrices);
                    return Ok(());
                }
                let factors = smoothing(spans, &largest_weights(&matrices, inputs));
                for matrix in &mut matrices {
                    for row in matrix.weight.chunks_exact_mut(inputs) {
                        row.iter_mut().zip(&factors).for_each(|(weight, factor)| *weight *= factor);
                    }
                }
                let spans = divided(spans, &factors);
                let rows = (row_scale(&spans), Some(factors.as_slice()));
                self.add_integers(product, rows, &importance(&spans), &matrices);
            }
        }
        Ok(())
    }

    fn add_blocks(&mut self, product: Product, matrices: &[Matrix]) {
        for matrix in matrices {
            let (outputs, blocks) = (matrix.outputs(), matrix.inputs.div_ceil(BLOCK));
            let (codes, scales) = numbers::blocks(&matrix.weight, matrix.inputs, BLOCK);
            self.bytes(&matrix.name, DataType::Uint8, &[outputs, blocks, BLOCK], codes);
            self.floats(&format!("{}.scales", matrix.name), &[outputs * blocks], &scales);
            self.replace(matrix);
        }
        self.products.insert(product, Form::Blocks { block: BLOCK });
    }

    fn add_integers(
        &mut self,
        product: Product,
        (rows, factors): (RowScale, Option<&[f32]>),
        importance: &[f64],
        matrices: &[Matrix],
    ) {
        for matrix in matrices {
            let outputs = matrix.outputs();
            let (codes, scales) = numbers::integers(&matrix.weight, matrix.inputs, importance);
            let codes = codes.into_iter().map(i8::cast_unsigned).collect();
            self.bytes(&matrix.name, DataType::Int8, &[matrix.inputs, outputs], codes);
            self.floats(&format!("{}.scales", matrix.name), &[outputs], &scales);
            self.replace(matrix);
        }
        if let Some(factors) = factors {
            let inverse: Vec<f32> = factors.iter().map(|factor| factor.recip()).collect();
            self.floats(&format!("{product}.smoothing"), &[inverse.len()], &inverse);
        }
        self.floats(&format!("{product}.scale"), &[], &[rows.scale]);
        let zero = (ValueType::new(DataType::Uint8, []), Numbers::Bytes(vec![rows.zero]));
        self.tensors.insert(format!("{product}.zero"), zero);
        self.products.insert(product, Form::Integers { smoothed: factors.is_some() });
    }

    /// Puts the word table into 4 bits.
    pub(super) fn add_words(&mut self, network: &Network<'_>) -> Result<()> {
        let ([table, _], width) = (network.config.tables(), network.config.hidden_size);
        let block = nibbles::block_of(width).ok_or_else(|| {
            Error::new(Kind::Usage, "this network's word table cannot be put into 4 bits")
                .found(format!("rows of {width} numbers"))
                .expected("an even number of blocks of 16 or 32")
                .help("leave --table-bits away, or say --table-bits 8")
        })?;
        let Nibbles { codes, scales, zeros } = nibbles::table(&network.read(table)?, width, block);
        let blocks = width.div_ceil(block);
        let rows = scales.len() / blocks;
        self.bytes(table, DataType::Uint8, &[rows, width / 2], codes);
        let mut add = |name: &str, element, sizes: [usize; 2], bytes| {
            let value_type = ValueType::new(element, fixed(&sizes));
            self.tensors.insert(format!("{table}.{name}"), (value_type, Numbers::Bytes(bytes)));
        };
        add("scales", DataType::Float16, [rows, blocks], half_bytes_of(&scales));
        add("zeros", DataType::Uint8, [rows, blocks / 2], zeros);
        self.tables.insert(table.to_owned(), TableForm::Blocks { block });
        self.replaced.insert(table.to_owned());
        Ok(())
    }

    /// Puts the embedding tables into 8 bits that are not in 4.
    pub(super) fn add_tables(&mut self, network: &Network<'_>) -> Result<()> {
        for table in network.config.tables() {
            if self.replaced.contains(table) {
                continue;
            }
            let width = network.config.hidden_size;
            let (codes, scales) = numbers::table(&network.read(table)?, width);
            let rows = scales.len();
            let codes = codes.into_iter().map(i8::cast_unsigned).collect();
            self.bytes(table, DataType::Int8, &[rows, width], codes);
            self.floats(&format!("{table}.scales"), &[rows, 1], &scales);
            self.tables.insert(table.to_owned(), TableForm::Rows);
            self.replaced.insert(table.to_owned());
        }
        Ok(())
    }

    /// The matrix has codes now; its bias may have grown.
    fn replace(&mut self, matrix: &Matrix) {
        self.floats(&matrix.bias_name(), &[matrix.outputs()], &matrix.bias);
        self.replaced.insert(matrix.weight_name());
    }

    fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        self.tensors.insert(name.to_owned(), (ValueType::float(fixed(shape)), Numbers::floats(numbers)));
    }

    fn bytes(&mut self, name: &str, element: DataType, shape: &[usize], bytes: Vec<u8>) {
        let value_type = ValueType::new(element, fixed(shape));
        self.tensors.insert(format!("{name}.codes"), (value_type, Numbers::Bytes(bytes)));
    }
}

/// The largest size of each input channel's weights, in all matrices that multiply the same rows.
fn largest_weights(matrices: &[Matrix], inputs: usize) -> Vec<f32> {
    let mut largest = vec![0.0_f32; inputs];
    for row in matrices.iter().flat_map(|matrix| matrix.weight.chunks_exact(inputs)) {
        largest.iter_mut().zip(row).for_each(|(largest, weight)| *largest = largest.max(weight.abs()));
    }
    largest
}

fn fixed(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|&size| Dim::Size(size)).collect()
}

fn one(matrices: Vec<Matrix>) -> Result<[Matrix; 1]> {
    matrices.try_into().map_err(|_| Error::new(Kind::Graph, "a dense layer has one matrix; this is a bug"))
}

fn need(calibration: Option<&Calibration>) -> Result<&Calibration> {
    calibration.ok_or_else(|| {
        Error::new(Kind::Usage, "int8 needs a calibration")
            .expected("some of the texts that the heads are trained on")
    })
}
