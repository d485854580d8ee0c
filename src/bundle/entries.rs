//! Owns the names and largest sizes of all entries of a bundle.

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const LABELS: &str = "labels.json";
pub(super) const CALIBRATION: &str = "calibration.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The tokenizer in the form that is read instead of it, where that pays.
pub(super) const COMPACT: &str = "tokenizer.safetensors";
pub(super) const GRAPH: &str = "model.onnx";
pub(super) const DATA: &str = "model.onnx.data";
pub(super) const GOLDEN: &str = "golden.json";
pub(super) const VALIDATION: &str = "validation.safetensors";
pub(super) const RANGES: &str = "ranges.safetensors";
pub(super) const CHECKSUMS: &str = "checksums.json";

const MIB: u64 = 1 << 20;
/// The entries that may be missing.
pub(super) const OPTIONAL: [&str; 3] = [COMPACT, VALIDATION, RANGES];
/// Every entry: its name, its largest size, and what is in it.
pub(super) const ENTRIES: [(&str, u64, &str); 11] = [
    (
        MANIFEST,
        MIB,
        "what the bundle is: format, precision, tasks, the backbone with its source and licence, and how many \
         words and pieces its texts had",
    ),
    (LABELS, 16 * MIB, "the names of every task's labels"),
    (CALIBRATION, MIB, "every task's temperature"),
    (TOKENIZER, 64 * MIB, "the backbone's vocabulary and how it cuts texts"),
    (COMPACT, 64 * MIB, "the same, in the form in which a large vocabulary is read without being parsed"),
    (GRAPH, 64 * MIB, "the network: backbone, pooling and all heads"),
    (DATA, u32::MAX as u64, "its weights"),
    (GOLDEN, 16 * MIB, "sentences that are part of frosthead, and what the network says of them"),
    (
        VALIDATION,
        512 * MIB,
        "what the heads see of validation rows, with the labels of these rows; not their texts",
    ),
    (
        RANGES,
        16 * MIB,
        "which numbers each channel had in the texts that 8-bit steps were measured on; an update is built with \
         the same",
    ),
    (CHECKSUMS, MIB, "a hash of every other entry"),
];

/// The largest size of an entry. One that is not known is never read.
pub(super) fn limit(name: &str) -> u64 {
    ENTRIES.iter().find(|(entry, ..)| *entry == name).map_or(u64::MAX, |(_, most, _)| *most)
}
