//! Owns the bias of relative positions: one number per attention head for each bucket of distances between
//! two tokens, the same in every layer, added to the scores behind their scaling.
//!
//! Near distances have a bucket each, farther ones share buckets that grow with the logarithm, and everything
//! beyond a distance is one. Refuses to compute a bucket in the graph: there it is a look-up.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::graph::{Builder, DataType, Dim, Operation, Value, ValueType};

/// How distances are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelativePositions {
    /// Buckets: half of them for tokens in front, half for those behind.
    pub buckets: usize,
    /// The distance from which on all are one.
    pub distance: usize,
}

impl RelativePositions {
    /// The bucket of a token that stands so many places behind (less than 0: in front).
    ///
    /// In 32-bit floats, step by step as PyTorch computes it: at a bucket's edge the last bit decides.
    #[must_use]
    pub fn bucket(self, behind: i64) -> usize {
        let half = self.buckets / 2;
        let near = half / 2;
        let side = if behind > 0 { half } else { 0 };
        let places = usize::try_from(behind.unsigned_abs()).unwrap_or(usize::MAX);
        if places < near {
            return side + places;
        }
        let span = (self.distance as f64 / near as f64).ln() as f32;
        let far = (places as f32 / near as f32).ln() / span * (half - near) as f32;
        side + (near + far as usize).min(half - 1)
    }

    /// The buckets of all pairs of tokens, i64 `[sequence, sequence]`: how far the second stands behind the
    /// first. `shape` is `[batch, sequence]`.
    pub(super) fn of_all_pairs(self, graph: &mut Builder, shape: &Value, positions: usize) -> Result<Value> {
        let last = positions as i64 - 1;
        let known: Vec<i64> = (-last..=last).map(|behind| self.bucket(behind) as i64).collect();
        let known = graph.integers("positions/buckets", &[known.len()], &known)?;
        let integers = |shape: &[Dim]| ValueType::int64(shape.to_vec());
        let sequence = || Dim::from("sequence");
        let (zero, one) =
            (graph.integers("positions/zero", &[], &[0])?, graph.integers("positions/one", &[], &[1])?);
        let count = Operation::new("Gather", &[shape, &one]).with("axis", 0);
        let count = graph.add(count, "positions/count", integers(&[]))?;
        let each = Operation::new("Range", &[&zero, &count, &one]);
        let each = graph.add(each, "positions/each", integers(&[sequence()]))?;
        let column = graph.integers("positions/last", &[1], &[1])?;
        let first = Operation::new("Unsqueeze", &[&each, &column]);
        let first = graph.add(first, "positions/first", integers(&[sequence(), 1.into()]))?;
        let square = integers(&[sequence(), sequence()]);
        let behind = Operation::new("Sub", &[&each, &first]);
        let behind = graph.add(behind, "positions/behind", square.clone())?;
        let start = graph.integers("positions/start", &[], &[last])?;
        let place =
            graph.add(Operation::new("Add", &[&behind, &start]), "positions/place", square.clone())?;
        graph.add(Operation::new("Gather", &[&known, &place]).with("axis", 0), "positions/bucket", square)
    }

    /// The bias of all pairs, `[1, heads, sequence, sequence]`, looked up in the table `[buckets, heads]`.
    pub(super) fn bias(
        self,
        graph: &mut Builder,
        [table, pairs]: [&Value; 2],
        heads: usize,
    ) -> Result<Value> {
        let turned = ValueType::float([heads.into(), self.buckets.into()]);
        let turn = Operation::new("Transpose", &[table]).with("perm", [1, 0]);
        let turned = graph.add(turn, "positions/by_head", turned)?;
        let look_up = Operation::new("Gather", &[&turned, pairs]).with("axis", 1);
        of_one_batch(graph, look_up, heads)
    }

    /// The same as a product, which has a gradient: that of a table looked up in is not one of its shape.
    pub(super) fn bias_by_product(
        self,
        graph: &mut Builder,
        [table, pairs]: [&Value; 2],
        heads: usize,
    ) -> Result<Value> {
        let sequence = || Dim::from("sequence");
        let all: Vec<i64> = (0..self.buckets as i64).collect();
        let all = graph.integers("positions/all_buckets", &[self.buckets], &all)?;
        let last = graph.integers("positions/in_front", &[1], &[-1])?;
        let cube = |element| ValueType::new(element, [sequence(), sequence(), self.buckets.into()]);
        let wide = ValueType::int64([sequence(), sequence(), 1.into()]);
        let wide = graph.add(Operation::new("Unsqueeze", &[pairs, &last]), "positions/pairs", wide)?;
        let hits = Operation::new("Equal", &[&wide, &all]);
        let hits = graph.add(hits, "positions/hits", cube(DataType::Bool))?;
        let cast = Operation::new("Cast", &[&hits]).with("to", DataType::Float as i64);
        let hits = graph.add(cast, "positions/shares", cube(DataType::Float))?;
        let by_pair = ValueType::float([sequence(), sequence(), heads.into()]);
        let by_pair = graph.add(Operation::new("MatMul", &[&hits, table]), "positions/by_pair", by_pair)?;
        of_one_batch(graph, Operation::new("Transpose", &[&by_pair]).with("perm", [2, 0, 1]), heads)
    }
}

/// What an operation gives, `[heads, sequence, sequence]`, for all texts of a batch.
fn of_one_batch(graph: &mut Builder, operation: Operation, heads: usize) -> Result<Value> {
    let sequence = || Dim::from("sequence");
    let heads = Dim::Size(heads);
    let each = ValueType::float([heads.clone(), sequence(), sequence()]);
    let each = graph.add(operation, "positions/each_bias", each)?;
    let axis = graph.integers("positions/batch", &[1], &[0])?;
    let wide = ValueType::float([1.into(), heads, sequence(), sequence()]);
    graph.add(Operation::new("Unsqueeze", &[&each, &axis]), "positions/bias", wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_distances_share_buckets_and_sides_do_not() {
        let relative = RelativePositions { buckets: 32, distance: 128 };
        assert_eq!(
            [0, -1, -7, -8, -127, -128, -5000].map(|far| relative.bucket(far)),
            [0, 1, 7, 8, 15, 15, 15]
        );
        assert_eq!(
            [1, 7, 8, 16, 32, 64, i64::MAX].map(|far| relative.bucket(far)),
            [17, 23, 24, 26, 28, 30, 31]
        );
    }
}
