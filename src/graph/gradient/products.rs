//! Owns the rules of matrix products; `d` is the gradient of the output.
//!
//! Refuses `Gemm` with factors, and products of vectors.

use super::elementwise::each;
use super::{At, Found, Tape};
use crate::error::Result;
use crate::graph::{Attribute, Dim, Operation, Value, ValueType};

/// y = a b over the last two axes: ∂a = d bᵀ, ∂b = aᵀ d, summed over axes that were broadcast.
pub(super) fn matmul(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let (a, b) = (at.input(0)?, at.input(1)?);
    if tape.shape(&a)?.len() < 2 || tape.shape(&b)?.len() < 2 {
        return Err(at.unsupported("a product with a vector"));
    }
    each(tape, at, |tape, at, place| {
        let turned = transposed(tape, if place == 0 { &b } else { &a })?;
        if place == 0 { product(tape, at.gradient, &turned) } else { product(tape, &turned, at.gradient) }
    })
}

/// y = x W + c, or x Wᵀ + c (`transB`): ∂x = d Wᵀ or d W, ∂W = xᵀ d or dᵀ x, ∂c = the sum of the rows of d.
pub(super) fn gemm(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let attributes = &at.node.operation.attributes;
    if attributes.keys().any(|name| *name != "transB") {
        return Err(at.unsupported("only transB may be set"));
    }
    let turned = attributes.get("transB") == Some(&Attribute::Int(1));
    let (x, weight) = (at.input(0)?, at.input(1)?);
    let mut found = Found::new();
    if at.wants(0) {
        let operation = Operation::new("Gemm", &[at.gradient, &weight]).with("transB", i64::from(!turned));
        found.push((0, tape.like(operation, &x)?));
    }
    if at.wants(1) {
        let (left, right) = if turned { (at.gradient, &x) } else { (&x, at.gradient) };
        let operation = Operation::new("Gemm", &[left, right]).with("transA", 1);
        found.push((1, tape.like(operation, &weight)?));
    }
    if at.wants(2) {
        found.push((2, tape.sum_to(at.gradient, &at.input(2)?)?));
    }
    Ok(found)
}

/// The last two axes exchanged.
fn transposed(tape: &mut Tape<'_>, x: &Value) -> Result<Value> {
    let mut shape = tape.shape(x)?;
    let rank = shape.len();
    shape.swap(rank - 1, rank - 2);
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(rank - 1, rank - 2);
    tape.add(Operation::new("Transpose", &[x]).with("perm", Attribute::Ints(order)), ValueType::float(shape))
}

fn product(tape: &mut Tape<'_>, a: &Value, b: &Value) -> Result<Value> {
    let (left, right) = (tape.shape(a)?, tape.shape(b)?);
    let (rows, columns) = (left[left.len() - 2].clone(), right[right.len() - 1].clone());
    // Of the outer axes, those of the longer shape; where sizes differ one is 1, and the other counts.
    let (long, short) = if left.len() >= right.len() { (&left, &right) } else { (&right, &left) };
    let offset = long.len() - short.len();
    let mut shape: Vec<Dim> = long[..long.len() - 2].to_vec();
    for (axis, dim) in short[..short.len() - 2].iter().enumerate() {
        if shape[offset + axis] == Dim::Size(1) {
            shape[offset + axis] = dim.clone();
        }
    }
    shape.extend([rows, columns]);
    tape.add(Operation::new("MatMul", &[a, b]), ValueType::float(shape))
}
