//! Owns rounding the rows of a table to 4 bits: in blocks, each with a scale and a zero.
//!
//! Refuses to know which table it rounds, and how long its blocks are best.

use half::f16;

/// The lengths of blocks, the better one first.
const BLOCKS: [usize; 2] = [32, 16];
/// The largest code.
const LARGEST: f32 = 15.0;
/// The shares of a block's range that its codes may cover, the numbers outside being cut; the one with the
/// smallest error is taken.
const SHARES: [f32; 14] = [1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.82, 0.79, 0.76, 0.73, 0.7, 0.67, 0.64, 0.61];
/// The largest step: a 16-bit float, as is the largest code times it.
const LARGEST_STEP: f32 = 4364.0;
/// How far a block's zero may lie from the middle of its range.
const SHIFTS: [f32; 3] = [-1.0, 0.0, 1.0];

/// A table `[rows, width]` in 4 bits; codes and zeros two in a byte, the first one in its lower half. A
/// number is `(code - zero) · scale`.
pub(super) struct Nibbles {
    /// `[rows, width / 2]`.
    pub(super) codes: Vec<u8>,
    /// `[rows, blocks]`, every one a 16-bit float.
    pub(super) scales: Vec<f32>,
    /// `[rows, blocks / 2]`.
    pub(super) zeros: Vec<u8>,
}

/// The length of the blocks of rows of a width, the last of which may be short; none where such rows have no
/// 4 bits.
///
/// Codes and zeros fill whole bytes: of rows with an odd number of blocks, versions of ONNX Runtime do not
/// agree where their zeros lie.
pub(super) fn block_of(width: usize) -> Option<usize> {
    BLOCKS.into_iter().find(|&block| width.is_multiple_of(2) && width.div_ceil(block).is_multiple_of(2))
}

/// Puts a table into 4 bits, in blocks as long as [`block_of`] its rows says.
///
/// A block's scale and zero are those with the smallest squared error of all that are tried. Over
/// all-MiniLM-L6-v2's word table this error is 0.0060 of the squares in blocks of 32, where scales that cover
/// the largest number, without a zero of their own, come to 0.0074, and a search among those to 0.0066.
pub(super) fn table(numbers: &[f32], width: usize, block: usize) -> Nibbles {
    let mut table = Nibbles { codes: Vec::new(), scales: Vec::new(), zeros: Vec::new() };
    for row in numbers.chunks_exact(width) {
        let scales: Vec<Scale> = row.chunks(block).map(Scale::of).collect();
        let codes = row.chunks(block).zip(&scales);
        let codes = codes.flat_map(|(numbers, scale)| numbers.iter().map(|&number| scale.code(number)));
        table.codes.extend(packed(&codes.collect::<Vec<_>>()));
        table.zeros.extend(packed(&scales.iter().map(|scale| scale.zero as u8).collect::<Vec<_>>()));
        table.scales.extend(scales.iter().map(|scale| scale.step));
    }
    table
}

/// Two in a byte.
fn packed(nibbles: &[u8]) -> impl Iterator<Item = u8> {
    nibbles.as_chunks().0.iter().map(|[low, high]| low | high << 4)
}

/// How a block's numbers become codes.
#[derive(Clone, Copy)]
struct Scale {
    /// Between two codes.
    step: f32,
    /// The code of 0: a whole number.
    zero: f32,
}

impl Scale {
    /// The best one of those tried.
    fn of(numbers: &[f32]) -> Self {
        // 0 is among the codes, so it belongs to the range.
        let (low, high) = numbers
            .iter()
            .fold((0.0_f32, 0.0_f32), |(low, high), &number| (low.min(number), high.max(number)));
        let (range, middle) = (high - low, f32::midpoint(low, high));
        let mut best: Option<(f32, Self)> = None;
        for share in SHARES {
            // Numbers are 16-bit floats when they are looked up: none may become infinite.
            let step = f16::from_f32((share * range / LARGEST).min(LARGEST_STEP)).to_f32();
            if step == 0.0 {
                continue;
            }
            let zero = (0.5 * LARGEST - middle / step).round();
            for zero in SHIFTS.map(|shift| (zero + shift).clamp(0.0, LARGEST)) {
                let scale = Self { step, zero };
                let error = scale.error(numbers);
                if best.is_none_or(|(smallest, _)| error < smallest) {
                    best = Some((error, scale));
                }
            }
        }
        // No step is tried where all numbers are (almost) 0.
        best.map_or(Self { step: 1.0, zero: 0.0 }, |(_, scale)| scale)
    }

    /// The sum of squares by which numbers are missed.
    fn error(self, numbers: &[f32]) -> f32 {
        let missed = numbers.iter().map(|&number| {
            let error = number - (f32::from(self.code(number)) - self.zero) * self.step;
            error * error
        });
        missed.sum()
    }

    fn code(self, number: f32) -> u8 {
        // Cut to a whole number, this is the nearest one.
        (number / self.step + self.zero + 0.5).clamp(0.0, LARGEST + 0.5) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1, the same every time.
    fn numbers(count: u32) -> Vec<f32> {
        (0..count).map(|step| (f64::from(step) * 1.618_034).fract() as f32 * 2.0 - 1.0).collect()
    }

    /// What codes, scales and zeros come to.
    fn read(table: &Nibbles, width: usize, block: usize) -> Vec<f32> {
        let nibble = |bytes: &[u8], place: usize| (bytes[place / 2] >> (4 * (place % 2))) & 15;
        let blocks = width.div_ceil(block);
        let number = |place: usize| {
            let (row, column) = (place / width, place % width);
            let block = row * blocks + column / block;
            let steps = f32::from(nibble(&table.codes, place)) - f32::from(nibble(&table.zeros, block));
            steps * table.scales[block]
        };
        (0..2 * table.codes.len()).map(number).collect()
    }

    #[test]
    fn blocks_fill_whole_bytes() {
        let blocks = [384, 768, 312, 64, 32, 96, 50, 8, 72, 385].map(block_of);
        let expected = [32, 32, 32, 32, 16, 16, 32].map(Some);
        assert_eq!(blocks[..7], expected);
        assert_eq!(blocks[7..], [None; 3]);
    }

    #[test]
    fn numbers_are_off_by_half_a_step() {
        // Two blocks a row, the last one short.
        let (width, block) = (40, 32);
        let numbers = numbers(200);
        let table = table(&numbers, width, block);
        assert_eq!((table.codes.len(), table.scales.len(), table.zeros.len()), (100, 10, 5));
        // At best 15 steps cover a range of 2: a mean square of 1/12 of a step's.
        let found = read(&table, width, block);
        let squares: f32 = numbers.iter().zip(&found).map(|(a, b)| (a - b) * (a - b)).sum();
        let step = 2.0 / LARGEST;
        assert!(squares / 200.0 < 1.2 * step * step / 12.0, "{squares}");
        assert!(squares / 200.0 > 0.5 * step * step / 12.0, "{squares}");
        for scale in &table.scales {
            assert_eq!(f16::from_f32(*scale).to_f32(), *scale, "not a 16-bit float");
        }
    }

    #[test]
    fn the_range_need_not_lie_about_zero_and_what_codes_reach_is_exact() {
        // From -3 to 12, and from -10 to 5: only zeros of 3 and 10 give every whole number a code.
        let whole = |from: f32| (0..16).map(move |step| step as f32 + from);
        let whole: Vec<f32> = whole(-3.0).chain(whole(-10.0)).collect();
        let table = table(&whole, 32, 16);
        assert_eq!(table.zeros, [0xA3]);
        assert_eq!(read(&table, 32, 16), whole);
        // All of one sign, far from 0.
        let far: Vec<f32> = (0..32).map(|step| 10.0 + 0.05 * step as f32).collect();
        let table = super::table(&far, 32, 16);
        assert!(read(&table, 32, 16).iter().zip(&far).all(|(a, b)| (a - b).abs() < 0.8));
    }

    #[test]
    fn an_outlier_is_cut_where_that_costs_less_than_coarse_steps() {
        let mut row: Vec<f32> = numbers(512);
        row[5] = 1.3;
        let table = table(&row, 512, 256);
        let largest = read(&table, 512, 256)[5];
        assert!(largest < 1.25 && largest > 1.0, "{largest}");
    }

    #[test]
    fn zeros_tiny_and_huge_numbers_stay_finite() {
        let rows = [vec![0.0; 16], vec![1e-30; 16], vec![-1e30; 16], vec![f32::MAX; 16]].concat();
        let table = table(&rows, 32, 16);
        let found = read(&table, 32, 16);
        assert!(found[..32].iter().all(|number| *number == 0.0), "{found:?}");
        assert!(found[32..48].iter().all(|number| *number < -60_000.0 && *number >= -65_504.0), "{found:?}");
        assert!(found[48..].iter().all(|number| *number > 60_000.0 && *number <= 65_504.0), "{found:?}");
    }
}
