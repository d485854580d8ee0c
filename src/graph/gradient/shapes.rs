//! Owns the rules of operators that move or select numbers; `d` is the gradient of the output.
//!
//! Refuses indices that are computed, except into a table of rows.

use super::{At, Found, Tape};
use crate::error::Result;
use crate::graph::{Attribute, Data, DataType, Dim, Operation, Value, ValueType};

/// y = x in another shape: ∂x = d in the shape of x.
pub(super) fn reshape(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let x = at.input(0)?;
    let sizes = tape.sizes(&x)?;
    Ok(vec![(0, tape.like(Operation::new("Reshape", &[at.gradient, &sizes]), &x)?)])
}

/// y = x with its axes in another order: ∂x = d with them put back.
pub(super) fn transpose(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let Some(Attribute::Ints(order)) = at.node.operation.attributes.get("perm") else {
        return Err(at.unsupported("the order of the axes is not given"));
    };
    let mut back = vec![0_i64; order.len()];
    for (place, axis) in (0_i64..).zip(order) {
        let axis = usize::try_from(*axis).ok().filter(|&axis| axis < back.len());
        back[axis.ok_or_else(|| at.unsupported("an impossible order of the axes"))?] = place;
    }
    let operation = Operation::new("Transpose", &[at.gradient]).with("perm", Attribute::Ints(back));
    Ok(vec![(0, tape.like(operation, &at.input(0)?)?)])
}

/// y = x with axes of size 1 put in: ∂x = d without them.
pub(super) fn unsqueeze(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    reshape(tape, at)
}

/// y = Σ x over axes: ∂x = d, repeated along them.
pub(super) fn reduce_sum(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let x = at.input(0)?;
    let rank = tape.shape(&x)?.len();
    let axes = match at.node.operation.inputs.get(1) {
        Some(Some(axes)) => constant(tape, axes).ok_or_else(|| at.unsupported("axes that are computed"))?,
        _ => Vec::new(),
    };
    let mut gradient = at.gradient.clone();
    let kept = at.node.operation.attributes.get("keepdims") != Some(&Attribute::Int(0));
    if !kept && !axes.is_empty() && axes.len() < rank {
        // Axes that were dropped come back with size 1; all axes dropped is a scalar, which fits any shape.
        let mut shape = tape.shape(&x)?;
        for &axis in &axes {
            shape[from_end(axis, rank).ok_or_else(|| at.unsupported("an impossible axis"))?] = Dim::Size(1);
        }
        let places = tape.integers(&axes)?;
        gradient = tape.add(Operation::new("Unsqueeze", &[&gradient, &places]), ValueType::float(shape))?;
    }
    let sizes = tape.sizes(&x)?;
    Ok(vec![(0, tape.like(Operation::new("Expand", &[&gradient, &sizes]), &x)?)])
}

/// y = the slice of x at a constant index of an axis: ∂x = d at that index, 0 elsewhere. y = rows of a table
/// that ids name: the gradient of each row that was looked up, to be summed by id.
pub(super) fn gather(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let (x, ids) = (at.input(0)?, at.input(1)?);
    let shape = tape.shape(&x)?;
    let axis = axis(at, shape.len(), Some(0))?;
    if tape.shape(&ids)?.is_empty() {
        return Ok(vec![(0, one_slice(tape, at, axis)?)]);
    }
    let parameter = tape.graph.producer(&x).is_none();
    if axis != 0 || shape.len() != 2 || !parameter {
        return Err(at.unsupported("ids into something other than a table of rows"));
    }
    let target =
        tape.integers(&[-1, size(&shape[1]).ok_or_else(|| at.unsupported("rows of open width"))?])?;
    let rows = ValueType::float([Dim::from("looked up"), shape[1].clone()]);
    let values = tape.add(Operation::new("Reshape", &[at.gradient, &target]), rows)?;
    tape.tables.entry(x).or_default().push((values, ids));
    Ok(Vec::new())
}

/// `d` at the index, 0 elsewhere: d, with the axis put back, times a vector that is 1 at the index.
fn one_slice(tape: &mut Tape<'_>, at: &At<'_>, axis: usize) -> Result<Value> {
    let (x, index) = (at.input(0)?, at.input(1)?);
    let mut shape = tape.shape(&x)?;
    let dim = std::mem::replace(&mut shape[axis], Dim::Size(1));
    let place = axis as i64;
    let axes = tape.integers(&[place])?;
    let wide =
        tape.add(Operation::new("Unsqueeze", &[at.gradient, &axes]), ValueType::float(shape.clone()))?;
    let sizes = tape.sizes(&x)?;
    let which = tape.integer(place)?;
    let length =
        tape.add(Operation::new("Gather", &[&sizes, &which]).with("axis", 0), ValueType::int64([]))?;
    let (zero, one) = (tape.integer(0)?, tape.integer(1)?);
    let range = Operation::new("Range", &[&zero, &length, &one]);
    let range = tape.add(range, ValueType::int64([dim.clone()]))?;
    let hit = ValueType::new(DataType::Bool, [dim.clone()]);
    let hit = tape.add(Operation::new("Equal", &[&range, &index]), hit)?;
    let cast = Operation::new("Cast", &[&hit]).with("to", DataType::Float as i64);
    let mut hit = tape.add(cast, ValueType::float([dim.clone()]))?;
    let after = shape.len() - axis - 1;
    if after > 0 {
        let axes = tape.integers(&(1..=after as i64).collect::<Vec<_>>())?;
        let column: Vec<Dim> = std::iter::once(dim).chain(vec![Dim::Size(1); after]).collect();
        hit = tape.add(Operation::new("Unsqueeze", &[&hit, &axes]), ValueType::float(column))?;
    }
    tape.like(Operation::new("Mul", &[&wide, &hit]), &x)
}

/// y = the first rows of a table `[rows, width]`: ∂x = d with rows of 0 behind it.
pub(super) fn slice(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let x = at.input(0)?;
    let shape = tape.shape(&x)?;
    let from_start = constant(tape, &at.input(1)?).is_some_and(|from| from == [0]);
    let first_axis = constant(tape, &at.input(3)?).is_some_and(|axes| axes == [0]);
    let rows = size(&shape[0]).filter(|_| shape.len() == 2 && from_start && first_axis);
    let Some(rows) = rows else { return Err(at.unsupported("anything but the first rows of a table")) };
    let there = at.input(2)?;
    let all = tape.integers(&[rows])?;
    let missing = tape.add(Operation::new("Sub", &[&all, &there]), ValueType::int64([1.into()]))?;
    let (nothing, none_after) = (tape.integers(&[0, 0])?, tape.integers(&[0])?);
    // Pad's order: before rows, before columns, after rows, after columns.
    let pads = Operation::new("Concat", &[&nothing, &missing, &none_after]).with("axis", 0);
    let pads = tape.add(pads, ValueType::int64([4.into()]))?;
    Ok(vec![(0, tape.like(Operation::new("Pad", &[at.gradient, &pads]), &x)?)])
}

/// y = the inputs side by side along an axis: ∂ of each is its part of d.
pub(super) fn concat(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let rank = tape.shape(at.output())?.len();
    let axis = axis(at, rank, None)?;
    let axes = tape.integers(&[axis as i64])?;
    let (mut start, mut found) = (0, Found::new());
    for place in 0..at.node.operation.inputs.len() {
        let input = at.input(place)?;
        let wide = size(&tape.shape(&input)?[axis]);
        let end = start + wide.ok_or_else(|| at.unsupported("parts of open size"))?;
        if at.wants(place) {
            let (from, to) = (tape.integers(&[start])?, tape.integers(&[end])?);
            found.push((
                place,
                tape.like(Operation::new("Slice", &[at.gradient, &from, &to, &axes]), &input)?,
            ));
        }
        start = end;
    }
    Ok(found)
}

/// The axis that a node says, counted from the first.
fn axis(at: &At<'_>, rank: usize, unsaid: Option<i64>) -> Result<usize> {
    let said = match at.node.operation.attributes.get("axis") {
        Some(Attribute::Int(axis)) => Some(*axis),
        _ => unsaid,
    };
    said.and_then(|axis| from_end(axis, rank)).ok_or_else(|| at.unsupported("an impossible axis"))
}

/// An axis, counted from the end when negative.
fn from_end(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|&axis| (axis as i64) < rank)
}

fn size(dim: &Dim) -> Option<i64> {
    match dim {
        Dim::Size(size) => i64::try_from(*size).ok(),
        Dim::Name(_) => None,
    }
}

/// The integers of an initializer kept in the graph.
fn constant(tape: &Tape<'_>, value: &Value) -> Option<Vec<i64>> {
    match tape.graph.initializer_data(value)? {
        Data::Inline(bytes) => {
            bytes.chunks_exact(8).map(|bytes| bytes.try_into().ok().map(i64::from_le_bytes)).collect()
        }
        Data::External(_) => None,
    }
}
