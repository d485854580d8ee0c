//! Owns the rules of softmax and layer normalisation; `d` is the gradient of the output.
//!
//! Refuses any axis but the last.

use super::{At, Found, Tape};
use crate::error::Result;
use crate::graph::{Attribute, Dim, Operation, Value, ValueType};

/// y = softmax(x): ∂x = y · (d − Σ d y).
pub(super) fn softmax(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    last_axis(tape, at)?;
    let y = at.output();
    let product = tape.binary("Mul", at.gradient, y)?;
    let sum = over_last(tape, "ReduceSum", &product)?;
    let shifted = tape.binary("Sub", at.gradient, &sum)?;
    Ok(vec![(0, tape.binary("Mul", &shifted, y)?)])
}

/// y = log softmax(x): ∂x = d − exp(y) · Σ d.
pub(super) fn log_softmax(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    last_axis(tape, at)?;
    let probabilities = tape.unary("Exp", at.output())?;
    let sum = over_last(tape, "ReduceSum", at.gradient)?;
    let share = tape.binary("Mul", &probabilities, &sum)?;
    Ok(vec![(0, tape.binary("Sub", at.gradient, &share)?)])
}

/// y = γ · n + β with n = (x − μ) · r, r = 1/√(σ² + ε): ∂β = Σ d, ∂γ = Σ d n (over rows), and with e = d γ ∂x
/// = r · (e − mean(e) − n · mean(e n)) (Ba, Kiros & Hinton 2016). μ and r are further outputs of the operator
/// itself.
pub(super) fn layer_normalization(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    last_axis(tape, at)?;
    let (x, scale) = (at.input(0)?, at.input(1)?);
    let row = one_for_each_row(tape, &x)?;
    let names = [tape.name(), tape.name()].map(|name| (name, row.clone()));
    let [mean, inverse] = tape.graph.add_outputs(at.output(), names)?;
    let mut found = Found::new();
    let centred = tape.binary("Sub", &x, &mean)?;
    let normal = tape.binary("Mul", &centred, &inverse)?;
    if at.wants(0) {
        let e = tape.binary("Mul", at.gradient, &scale)?;
        let mean_of_e = over_last(tape, "ReduceMean", &e)?;
        let product = tape.binary("Mul", &e, &normal)?;
        let mean_of_product = over_last(tape, "ReduceMean", &product)?;
        let along = tape.binary("Mul", &normal, &mean_of_product)?;
        let rest = tape.binary("Sub", &e, &mean_of_e)?;
        let rest = tape.binary("Sub", &rest, &along)?;
        found.push((0, tape.binary("Mul", &rest, &inverse)?));
    }
    if at.wants(1) {
        let product = tape.binary("Mul", at.gradient, &normal)?;
        found.push((1, tape.sum_to(&product, &scale)?));
    }
    if at.wants(2) {
        found.push((2, tape.sum_to(at.gradient, &at.input(2)?)?));
    }
    Ok(found)
}

/// Sum or mean over the last axis, which stays with size 1.
fn over_last(tape: &mut Tape<'_>, operator: &'static str, x: &Value) -> Result<Value> {
    let row = one_for_each_row(tape, x)?;
    let axes = tape.integers(&[-1])?;
    tape.add(Operation::new(operator, &[x, &axes]).with("keepdims", 1), row)
}

/// The type of one number for each row of `x`.
fn one_for_each_row(tape: &Tape<'_>, x: &Value) -> Result<ValueType> {
    let mut shape = tape.shape(x)?;
    if let Some(last) = shape.last_mut() {
        *last = Dim::Size(1);
    }
    Ok(ValueType::float(shape))
}

fn last_axis(tape: &Tape<'_>, at: &At<'_>) -> Result<()> {
    let last = tape.shape(&at.input(0)?)?.len() as i64 - 1;
    match at.node.operation.attributes.get("axis") {
        None | Some(Attribute::Int(-1)) => Ok(()),
        Some(Attribute::Int(axis)) if *axis == last => Ok(()),
        _ => Err(at.unsupported("an axis other than the last")),
    }
}
