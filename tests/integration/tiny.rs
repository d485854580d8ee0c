//! Owns two small networks, for what does not depend on how well a network has learned: one with the real
//! one's tokenizer, number of layers and positions, the first columns of its word embeddings and layers drawn
//! by lot; and a BERT of two layers and 48 positions with a run and a bundle on it, made once, whose table
//! calls the text column `review`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use safetensors::Dtype;

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

/// Numbers of a hidden state of the drawn network.
pub const NUMBERS: usize = 48;
const INNER: usize = 96;
const LAYERS: usize = 6;

/// Writes a checkpoint of six narrow layers with drawn weights into a new directory, and takes everything else
/// from the `real` one's: tokenizer, lengths, pooling, and of its word embeddings as many columns as there are,
/// so that heads have something to learn from.
pub fn write_drawn(real: &Path, directory: &Path) {
    std::fs::create_dir_all(directory.join("1_Pooling")).unwrap();
    for file in
        ["tokenizer.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"]
    {
        std::fs::copy(real.join(file), directory.join(file)).unwrap();
    }
    let json = |file: &str, changes: &[(&str, usize)]| {
        let mut value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(real.join(file)).unwrap()).unwrap();
        for (name, number) in changes {
            value[name] = (*number).into();
        }
        std::fs::write(directory.join(file), value.to_string()).unwrap();
        value
    };
    json("1_Pooling/config.json", &[("word_embedding_dimension", NUMBERS)]);
    let sizes = [("hidden_size", NUMBERS), ("intermediate_size", INNER), ("num_attention_heads", 4)];
    let config = json("config.json", &sizes);
    let size = |name: &str| usize::try_from(config[name].as_u64().unwrap()).unwrap();
    assert_eq!(size("num_hidden_layers"), LAYERS);
    let mut drawn = Drawn { state: 13, tensors: BTreeMap::new() };
    let (hidden, inner) = (vec![NUMBERS], vec![INNER]);
    drawn.take_words(&real.join("model.safetensors"));
    for (table, rows) in
        [("position", size("max_position_embeddings")), ("token_type", size("type_vocab_size"))]
    {
        drawn.add(&format!("embeddings.{table}_embeddings.weight"), vec![rows, NUMBERS], 0.01);
    }
    drawn.normalisation("embeddings.LayerNorm");
    for layer in 0..LAYERS {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        for (part, outputs, inputs) in [
            ("attention.self.query", &hidden, NUMBERS),
            ("attention.self.key", &hidden, NUMBERS),
            ("attention.self.value", &hidden, NUMBERS),
            ("attention.output.dense", &hidden, NUMBERS),
            ("intermediate.dense", &inner, NUMBERS),
            ("output.dense", &hidden, INNER),
        ] {
            let deviation = 0.5 / (inputs as f32).sqrt();
            drawn.add(&name(&format!("{part}.weight")), vec![outputs[0], inputs], deviation);
            drawn.add(&name(&format!("{part}.bias")), outputs.clone(), 0.1);
        }
        drawn.normalisation(&name("attention.output.LayerNorm"));
        drawn.normalisation(&name("output.LayerNorm"));
    }
    std::fs::write(directory.join("model.safetensors"), drawn.serialize()).unwrap();
}

/// Tensors of numbers drawn by lot, always the same.
struct Drawn {
    state: u64,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Drawn {
    /// The first columns of a checkpoint's word embeddings.
    fn take_words(&mut self, checkpoint: &Path) {
        let bytes = std::fs::read(checkpoint).unwrap();
        let name = "embeddings.word_embeddings.weight";
        let table = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor(name).unwrap();
        let [rows, width] = table.shape() else { panic!("{:?}", table.shape()) };
        assert_eq!(table.dtype(), Dtype::F32);
        let kept =
            table.data().chunks_exact(width * 4).flat_map(|row| &row[..NUMBERS * 4]).copied().collect();
        self.tensors.insert(name.to_owned(), (vec![*rows, NUMBERS], kept));
    }

    /// Uniform numbers with mean 0 and the given standard deviation.
    fn add(&mut self, name: &str, shape: Vec<usize>, deviation: f32) {
        self.add_around(name, shape, (0.0, deviation));
    }

    fn normalisation(&mut self, name: &str) {
        self.add_around(&format!("{name}.weight"), vec![NUMBERS], (1.0, 0.1));
        self.add_around(&format!("{name}.bias"), vec![NUMBERS], (0.0, 0.1));
    }

    fn add_around(&mut self, name: &str, shape: Vec<usize>, (mean, deviation): (f32, f32)) {
        let count = shape.iter().product::<usize>();
        let numbers = (0..count).flat_map(|_| {
            // The generator of Knuth's MMIX; its upper bits are the better ones.
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let uniform = (self.state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5;
            (mean + uniform * deviation * 12_f32.sqrt()).to_le_bytes()
        });
        let bytes = numbers.collect();
        self.tensors.insert(name.to_owned(), (shape, bytes));
    }

    fn serialize(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (shape, data))| {
            (name, safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }
}

/// Writes the checkpoint of the network of two layers into a new directory.
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
