//! fastembed-rs as a peer of the benchmark: the protocol of `scripts/peers/worker.py`, one JSON object a line each way.
//!
//! usage: fastembed-rs OPTIONS [TEXT]     OPTIONS: {"model": DIR, "threads": N}; with TEXT it is embedded alone, as a cold start
//! settings of a pass: {"batch_size": N} (its default is 256)

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use fastembed::{InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel};
use serde::Deserialize;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Deserialize)]
struct Options {
    model: String,
    threads: usize,
}

#[derive(Deserialize, Default)]
struct Settings {
    batch_size: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    Texts(String),
    Pass(Settings),
    Save { settings: Settings, path: String },
    Singles(usize),
}

fn load(options: &Options) -> Result<TextEmbedding> {
    let read = |name: &str| std::fs::read(Path::new(&options.model).join(name));
    let files = TokenizerFiles {
        tokenizer_file: read("tokenizer.json")?,
        config_file: read("config.json")?,
        special_tokens_map_file: read("special_tokens_map.json")?,
        tokenizer_config_file: read("tokenizer_config.json")?,
    };
    let model = UserDefinedEmbeddingModel::new(read("model.onnx")?, files).with_pooling(Pooling::Mean);
    Ok(TextEmbedding::try_new_from_user_defined(
        model,
        InitOptionsUserDefined::new().with_intra_threads(options.threads),
    )?)
}

fn answer(model: &mut TextEmbedding, texts: &mut Vec<String>, question: Question) -> Result<Value> {
    Ok(match question {
        Question::Texts(path) => {
            *texts = serde_json::from_str(&std::fs::read_to_string(path)?)?;
            json!({ "texts": texts.len() })
        }
        Question::Pass(settings) => {
            let start = Instant::now();
            model.embed(&texts[..], settings.batch_size)?;
            json!({ "seconds": start.elapsed().as_secs_f64() })
        }
        Question::Save { settings, path } => {
            let rows = model.embed(&texts[..], settings.batch_size)?;
            let bytes: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
            std::fs::write(path, bytes)?;
            json!({ "texts": rows.len() })
        }
        Question::Singles(count) => {
            let mut seconds = Vec::new();
            for text in texts.iter().take(count) {
                let start = Instant::now();
                model.embed([text], None)?;
                seconds.push(start.elapsed().as_secs_f64());
            }
            json!({ "seconds": seconds })
        }
    })
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut model =
        load(&serde_json::from_str(arguments.first().ok_or("usage: fastembed-rs OPTIONS [TEXT]")?)?)?;
    if let Some(text) = arguments.get(1) {
        println!("{}", model.embed([text], None)?[0][0]);
        return Ok(());
    }
    let mut texts = Vec::new();
    for line in std::io::stdin().lines() {
        let question = serde_json::from_str(&line?)?;
        let answer = answer(&mut model, &mut texts, question)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
