//! Owns the rules of elementwise operators; `d` is the gradient of the output, sums undo broadcasting.
//!
//! Refuses nothing: broadcasting of either side is followed.

use super::{At, Found, Tape};
use crate::error::Result;
use crate::graph::{Attribute, DataType, Dim, Operation, Value, ValueType};

/// y = a + b: ∂a = d, ∂b = d.
pub(super) fn add(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    each(tape, at, |_, at, _| Ok(at.gradient.clone()))
}

/// y = a − b: ∂a = d, ∂b = −d.
pub(super) fn subtract(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    each(tape, at, |tape, at, place| match place {
        0 => Ok(at.gradient.clone()),
        _ => tape.unary("Neg", at.gradient),
    })
}

/// y = a · b: ∂a = d · b, ∂b = d · a.
pub(super) fn multiply(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    each(tape, at, |tape, at, place| tape.binary("Mul", at.gradient, &at.input(1 - place)?))
}

/// y = a / b: ∂a = d / b, ∂b = −d · y / b.
pub(super) fn divide(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let quotient = tape.binary("Div", at.gradient, &at.input(1)?)?;
    each(tape, at, |tape, at, place| match place {
        0 => Ok(quotient.clone()),
        _ => {
            let product = tape.binary("Mul", &quotient, at.output())?;
            tape.unary("Neg", &product)
        }
    })
}

/// y = ln(1 + e^x): ∂x = d · sigmoid(x).
pub(super) fn softplus(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let sigmoid = tape.unary("Sigmoid", &at.input(0)?)?;
    Ok(vec![(0, tape.binary("Mul", at.gradient, &sigmoid)?)])
}

/// y = −x: ∂x = −d.
pub(super) fn negate(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    Ok(vec![(0, tape.unary("Neg", at.gradient)?)])
}

/// y = √x: ∂x = d / (2 y).
pub(super) fn square_root(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let half = tape.scaled(at.gradient, 0.5)?;
    Ok(vec![(0, tape.binary("Div", &half, at.output())?)])
}

/// y = max(a, b): ∂a = d where a ≥ b, ∂b = d where a < b.
pub(super) fn maximum(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    if at.node.operation.inputs.len() != 2 {
        return Err(at.unsupported("a maximum of other than two values"));
    }
    each(tape, at, |tape, at, place| {
        let operator = if place == 0 { "GreaterOrEqual" } else { "Less" };
        let chosen = compare(tape, operator, [&at.input(0)?, &at.input(1)?], at.output())?;
        tape.binary("Mul", at.gradient, &chosen)
    })
}

/// y = the largest x along an axis: ∂x = d where x is y, 0 elsewhere (the places have no gradient).
pub(super) fn largest(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let x = at.input(0)?;
    let one = at.node.operation.attributes.get("axis").and_then(|axis| match axis {
        Attribute::Int(axis) => tape.shape(at.output()).ok()?.get(usize::try_from(*axis).ok()?).cloned(),
        _ => None,
    });
    if one != Some(Dim::Size(1)) {
        return Err(at.unsupported("more than the largest one"));
    }
    let chosen = compare(tape, "Equal", [&x, at.output()], &x)?;
    Ok(vec![(0, tape.like(Operation::new("Mul", &[&chosen, at.gradient]), &x)?)])
}

/// y = tanh x: ∂x = d · (1 − y²) = d − d · y².
pub(super) fn hyperbolic_tangent(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let square = tape.binary("Mul", at.output(), at.output())?;
    let lost = tape.binary("Mul", at.gradient, &square)?;
    Ok(vec![(0, tape.binary("Sub", at.gradient, &lost)?)])
}

/// y = max(x, 0): ∂x = d where x > 0.
pub(super) fn relu(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let (zero, x) = (tape.scalar(0.0)?, at.input(0)?);
    let positive = compare(tape, "Greater", [&x, &zero], &x)?;
    Ok(vec![(0, tape.binary("Mul", at.gradient, &positive)?)])
}

/// y = x · Φ(x): ∂x = d · (Φ(x) + x · φ(x)), Φ and φ the normal distribution (Hendrycks & Gimpel 2016); or
/// its approximation y = x/2 · (1 + t), t = tanh(k (x + c x³)), k = √(2/π), c = 0.044715: ∂x = d · ((1 + t)/2
/// + x/2 · (1 − t²) · k (1 + 3 c x²)).
pub(super) fn gelu(tape: &mut Tape<'_>, at: &At<'_>) -> Result<Found> {
    let x = at.input(0)?;
    let slope = match at.node.operation.attributes.get("approximate") {
        Some(Attribute::String(kind)) if kind == "tanh" => tanh_slope(tape, &x)?,
        _ => normal_slope(tape, &x)?,
    };
    Ok(vec![(0, tape.binary("Mul", at.gradient, &slope)?)])
}

/// Φ(x) + x · φ(x) = (1 + erf(u)) / 2 + u · exp(−u² − ln √π) with u = x / √2: written so that few passes over
/// memory are made.
fn normal_slope(tape: &mut Tape<'_>, x: &Value) -> Result<Value> {
    let u = tape.scaled(x, std::f32::consts::FRAC_1_SQRT_2)?;
    let erf = tape.unary("Erf", &u)?;
    // max(0, min(1, α e + β)): between −1 and 1 nothing is cut.
    let share = Operation::new("HardSigmoid", &[&erf]).with("alpha", 0.5_f32).with("beta", 0.5_f32);
    let share = tape.like(share, x)?;
    let square = tape.binary("Mul", &u, &u)?;
    let constant = tape.scalar(-std::f32::consts::PI.ln() / 2.0)?;
    let exponent = tape.like(Operation::new("Sub", &[&constant, &square]), x)?;
    let bell = tape.unary("Exp", &exponent)?;
    let bell = tape.binary("Mul", &bell, &u)?;
    tape.binary("Add", &share, &bell)
}

fn tanh_slope(tape: &mut Tape<'_>, x: &Value) -> Result<Value> {
    const C: f32 = 0.044_715;
    let k = (2.0 / std::f32::consts::PI).sqrt();
    let one = tape.scalar(1.0)?;
    let square = tape.binary("Mul", x, x)?;
    // k (x + c x³) = x · (k + k c x²).
    let inner = tape.scaled(&square, k * C)?;
    let constant = tape.scalar(k)?;
    let inner = tape.binary("Add", &inner, &constant)?;
    let inner = tape.binary("Mul", x, &inner)?;
    let t = tape.unary("Tanh", &inner)?;
    let steep = tape.binary("Mul", &t, &t)?;
    let steep = tape.like(Operation::new("Sub", &[&one, &steep]), x)?;
    let inside = tape.scaled(&square, 3.0 * k * C)?;
    let inside = tape.binary("Add", &inside, &constant)?;
    let steep = tape.binary("Mul", &steep, &inside)?;
    let steep = tape.binary("Mul", &steep, x)?;
    let sum = tape.binary("Add", &t, &one)?;
    let sum = tape.binary("Add", &sum, &steep)?;
    tape.scaled(&sum, 0.5)
}

/// 1 where the comparison holds, else 0; in the shape of `like`.
fn compare(tape: &mut Tape<'_>, operator: &'static str, sides: [&Value; 2], like: &Value) -> Result<Value> {
    let shape = tape.shape(like)?;
    let holds = tape.add(Operation::new(operator, &sides), ValueType::new(DataType::Bool, shape))?;
    tape.like(Operation::new("Cast", &[&holds]).with("to", DataType::Float as i64), like)
}

/// The gradient of each wanted input, summed to its shape.
pub(super) fn each(
    tape: &mut Tape<'_>,
    at: &At<'_>,
    gradient: impl Fn(&mut Tape<'_>, &At<'_>, usize) -> Result<Value>,
) -> Result<Found> {
    let mut found = Found::new();
    for place in (0..2).filter(|&place| at.wants(place)) {
        let full = gradient(tape, at, place)?;
        found.push((place, tape.sum_to(&full, &at.input(place)?)?));
    }
    Ok(found)
}
