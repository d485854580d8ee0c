//! Owns the yardstick for speed: the fp32 matrix product rate that ONNX Runtime reaches in this process.
//!
//! Refuses to know how graphs are written (the caller makes them) and to time anything but the product
//! itself.

use std::path::Path;
use std::time::Instant;

use super::Runtime;
use super::session::{Input, Session, Values};
use crate::error::{Error, Kind, Result};

/// `[m, k] × [k, n]`: an FFN product of a small encoder at a batch of 1,024 tokens, and a large square one.
const PRODUCTS: [(usize, usize, usize); 2] = [(1024, 384, 1536), (2048, 2048, 2048)];

/// The median of this many runs counts.
const RUNS: usize = 20;

/// The best rate of the products that were tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmPeak {
    /// 10⁹ floating point operations a second; a product counts `2·m·k·n`.
    pub gflops: f64,
    /// The product that reached it, `(m, k, n)`.
    pub product: (usize, usize, usize),
}

/// Measures the fp32 matrix product peak of `runtime` with its threads and device.
///
/// `make_graph(m, k, n)` gives the ONNX bytes of one product: an f32 input `[m, k]`, and as a second input or
/// as an initializer inside the graph the f32 `[k, n]`.
///
/// # Errors
/// A graph cannot be loaded or run, or its inputs are not as described.
pub fn gemm_peak(
    runtime: &Runtime,
    make_graph: &dyn Fn(usize, usize, usize) -> Result<Vec<u8>>,
) -> Result<GemmPeak> {
    let mut best: Option<GemmPeak> = None;
    for product in PRODUCTS {
        let (m, k, n) = product;
        let mut session = runtime.session_from_memory(&make_graph(m, k, n)?, Path::new("."))?;
        let seconds = median_seconds(&mut session, product)?;
        let gflops = 2.0 * count(m) * count(k) * count(n) / seconds / 1e9;
        if best.is_none_or(|best| gflops > best.gflops) {
            best = Some(GemmPeak { gflops, product });
        }
    }
    best.ok_or_else(|| Error::new(Kind::Runtime, "no product was measured; this is a bug"))
}

/// The median time of one run, after two runs that pack the operand and fill the caches.
fn median_seconds(session: &mut Session, (m, k, n): (usize, usize, usize)) -> Result<f64> {
    let names: Vec<String> = session.inputs().iter().map(|input| input.name.clone()).collect();
    if names.is_empty() || names.len() > 2 {
        return Err(Error::new(Kind::Graph, "not a graph of one matrix product")
            .found(format!("{} inputs", names.len()))
            .expected("1 or 2"));
    }
    let shapes = [[m, k], [k, n]];
    let operands = shapes.map(|[rows, columns]| wave(rows * columns));
    let inputs: Vec<Input<'_>> = names
        .iter()
        .zip(&shapes)
        .zip(&operands)
        .map(|((name, shape), values)| Input { name, shape, values: Values::F32(values) })
        .collect();
    for _ in 0..2 {
        session.run_discarding(&inputs)?;
    }
    let mut seconds = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        session.run_discarding(&inputs)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(f64::midpoint(seconds[(RUNS - 1) / 2], seconds[RUNS / 2]))
}

/// Ordinary numbers between -0.5 and 0.5: neither zeros nor subnormals, which some processors treat
/// differently.
fn wave(length: usize) -> Vec<f32> {
    // Steps of a golden-section sequence; all values are exact multiples of 1/1024.
    (0..length)
        .map(|index| f32::from(u16::try_from(index * 633 % 1024).unwrap_or(0)) / 1024.0 - 0.5)
        .collect()
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
