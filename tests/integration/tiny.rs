//! Owns a BERT of two layers, 32 numbers and 48 positions with a run and a bundle on it, made once: for what
//! does not depend on what a network has learned. Its table calls the text column `review`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::harness::{demo, directory, frosthead, root, text};

pub struct Tiny {
    /// What it was imported from.
    pub checkpoint: PathBuf,
    pub backbone: PathBuf,
    /// `review,domain,sentiment`.
    pub table: PathBuf,
    pub run: PathBuf,
    pub bundle: PathBuf,
}

/// Writes the checkpoint of the network into a new directory.
pub fn write_checkpoint(directory: &Path) {
    let data = root().join("tests/data");
    std::fs::create_dir_all(directory).unwrap();
    std::fs::copy(data.join("bert_tiny_f16.safetensors"), directory.join("model.safetensors")).unwrap();
    std::fs::copy(data.join("foreign_onnx/tokenizer.json"), directory.join("tokenizer.json")).unwrap();
    let described: serde_json::Value =
        serde_json::from_slice(&std::fs::read(data.join("bert_tiny.json")).unwrap()).unwrap();
    std::fs::write(directory.join("config.json"), described["config"].to_string()).unwrap();
}

pub fn tiny() -> &'static Tiny {
    static MADE: OnceLock<Tiny> = OnceLock::new();
    MADE.get_or_init(|| {
        let place = directory().keep();
        let made = Tiny {
            checkpoint: place.join("checkpoint"),
            backbone: place.join("models/tiny"),
            table: place.join("data/reviews.csv"),
            run: place.join("runs/tiny"),
            bundle: place.join("tiny.frost"),
        };
        write_checkpoint(&made.checkpoint);
        std::fs::create_dir(place.join("data")).unwrap();
        let table = std::fs::read_to_string(demo(120)).unwrap();
        std::fs::write(&made.table, table.replacen("text,", "review,", 1)).unwrap();
        frosthead(&["import", text(&made.checkpoint), "--out", text(&made.backbone)]).success();
        let train = ["train", text(&made.table), "--text", "review", "--backbone", text(&made.backbone)];
        let tasks =
            ["--task", "domain", "--task", "sentiment", "--long", "windows", "--out", text(&made.run)];
        frosthead(&[&train[..], &tasks].concat()).success();
        frosthead(&["bundle", text(&made.run), "--out", text(&made.bundle)]).success();
        made
    })
}
