//! Imports of what people really have: the layouts of checkpoints, failed downloads, tokenizers with faults,
//! lengths in other files.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::harness::{Finished, directory, frosthead, root, text};

const MODULES: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
const POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 466247\n";

fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Name → type, shape, bytes of the tiny encoder's own tensors, by their canonical names.
type Tensors = BTreeMap<String, (safetensors::Dtype, Vec<usize>, Vec<u8>)>;

fn tensors() -> Tensors {
    let bytes = std::fs::read(root().join("tests/data/bert_tiny_pretraining.safetensors")).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let inside = all.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("bert.")?, tensor)));
    inside
        .filter(|(name, _)| !name.starts_with("pooler."))
        .map(|(name, t)| (name.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect()
}

fn save(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    write(path, safetensors::serialize(views, None).unwrap());
}

fn prefixed(prefix: &str, tensors: &Tensors) -> Tensors {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

fn config() -> Value {
    let tiny = std::fs::read_to_string(root().join("tests/data/bert_tiny.json")).unwrap();
    serde_json::from_str::<Value>(&tiny).unwrap()["config"].clone()
}

/// A WordPiece tokenizer of at most 99 ids.
fn tokenizer() -> Value {
    let mut words: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned).into();
    words.extend(('a'..='z').map(String::from));
    words.extend(('a'..='z').map(|letter| format!("##{letter}")));
    words.extend(["the", "cat", "dog", "sat", "天", "气", "很", "1", "9"].map(str::to_owned));
    let vocabulary: serde_json::Map<String, Value> =
        words.into_iter().enumerate().map(|(id, word)| (word, id.into())).collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let sequence = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    let (start, end) = (token("[CLS]"), token("[SEP]"));
    json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [start, sequence("A"), end],
            "pair": [start, sequence("A"), end, sequence("B"), end],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary}})
}

/// A complete model in a directory.
fn model(at: &Path) {
    small(at);
    save(&at.join("model.safetensors"), &tensors());
}

/// The same without weights.
fn small(at: &Path) {
    write(&at.join("config.json"), config().to_string());
    write(&at.join("tokenizer.json"), tokenizer().to_string());
}

/// Weights in two parts, each tensor in the first or second half of the alphabet.
fn sharded(at: &Path, tensors: &Tensors) -> Value {
    let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let half = tensors.len() / 2;
    let map: BTreeMap<&String, &str> =
        tensors.keys().enumerate().map(|(place, name)| (name, parts[usize::from(place >= half)])).collect();
    for part in parts {
        let inside = tensors.iter().filter(|(name, _)| map[name] == part);
        save(&at.join(part), &inside.map(|(name, tensor)| (name.clone(), tensor.clone())).collect());
    }
    let index = json!({"metadata": {}, "weight_map": map});
    write(&at.join("model.safetensors.index.json"), index.to_string());
    index
}

fn import(source: &Path, more: &[&str]) -> (Finished, PathBuf) {
    let out = source.with_extension("imported");
    let arguments = [&["import", text(source), "--out", text(&out), "--overwrite"], more].concat();
    (frosthead(&arguments), out)
}

#[track_caller]
fn refused(source: &Path, parts: &[&str]) {
    let (finished, out) = import(source, &[]);
    finished.fails_with(parts);
    assert!(!out.exists(), "a half-made backbone was left");
}

/// The manifest of a backbone that was just imported.
#[track_caller]
fn imported(source: &Path, more: &[&str]) -> (Value, String) {
    let (finished, out) = import(source, more);
    let said = finished.success().stderr;
    let manifest = frosthead(&["inspect", text(&out), "--json"]).success().json()["manifest"].clone();
    (manifest, said)
}

#[test]
fn every_layout_of_a_checkpoint_becomes_the_same_backbone() {
    let directory = directory();
    let place = |name: &str| directory.path().join(name);
    model(&place("plain"));
    let (plain, _) = imported(&place("plain"), &[]);
    let same = |name: &str| {
        let (manifest, _) = imported(&place(name), &[]);
        for field in ["files", "preparation", "architecture"] {
            assert_eq!(manifest[field], plain[field], "{field} of {name}");
        }
        manifest["source"]["origin"].as_str().unwrap().to_owned()
    };
    small(&place("sharded"));
    sharded(&place("sharded"), &prefixed("bert.", &tensors()));
    same("sharded");

    model(&place("folder/deep/0_Transformer"));
    write(&place("folder/modules.json"), MODULES.replace(r#""path": """#, r#""path": "deep/0_Transformer""#));
    write(&place("folder/1_Pooling/config.json"), "{}");
    same("folder");
    model(&place("folders/0_BERT"));
    same("folders");
    small(&place("parts/0_Transformer"));
    sharded(&place("parts/0_Transformer"), &tensors());
    same("parts");

    for (number, prefix) in
        ["bert.", "0.auto_model.", "auto_model.", "model.", "0.bert.", "module.", "module.bert."]
            .into_iter()
            .enumerate()
    {
        let name = format!("prefix-{number}");
        let mut all = prefixed(prefix, &tensors());
        let pooler = tensors()["embeddings.LayerNorm.gamma"].clone();
        all.insert(format!("{prefix}pooler.dense.bias"), pooler.clone());
        // A head lies beside the encoder.
        all.insert(format!("{}cls.bias", prefix.strip_suffix("bert.").unwrap_or(prefix)), pooler);
        small(&place(&name));
        save(&place(&name).join("model.safetensors"), &all);
        same(&name);
    }

    // As the hub's own cache keeps it: links to blobs.
    let cache = place("models--tiny--bert");
    model(&cache.join("blobs"));
    std::fs::create_dir_all(cache.join("snapshots/abc123")).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        symlink(format!("../../blobs/{name}"), cache.join("snapshots/abc123").join(name)).unwrap();
    }
    assert_eq!(same("models--tiny--bert"), "tiny/bert@abc123");
    assert_eq!(same("models--tiny--bert/snapshots/abc123"), "tiny/bert@abc123");
    write(&cache.join("refs/main"), "abc123");
    std::fs::remove_file(cache.join("blobs/model.safetensors")).unwrap();
    let out = text(&place("other")).to_owned();
    frosthead(&["import", text(&cache), "--out", &out])
        .fails_with(&["model.safetensors", "link leads nowhere"]);
}

#[test]
fn weights_that_do_not_belong_together_are_refused_by_name() {
    let directory = directory();
    let at = directory.path().join("model");
    small(&at);
    let index = sharded(&at, &tensors());
    let first = tensors().into_keys().next().unwrap();
    let path = at.join("model.safetensors.index.json");
    let with = |file: Value| {
        let mut index = index.clone();
        index["weight_map"][&first] = file;
        write(&path, index.to_string());
    };
    with("../elsewhere.safetensors".into());
    refused(&at, &["index.json", &first, "../elsewhere.safetensors", "beside it"]);
    with("/etc/passwd".into());
    refused(&at, &["/etc/passwd", "beside it"]);
    with("model-00002-of-00002.safetensors".into());
    refused(&at, &[&first, "do not belong together"]);
    with("model-00003-of-00003.safetensors".into());
    refused(&at, &["no model-00003-of-00003.safetensors"]);
    with(7.into());
    refused(&at, &["index.json", "weight_map"]);
    write(&path, r#"{"metadata": {}"#);
    refused(&at, &["index.json", "download the index again"]);
    let mut absent = index.clone();
    absent["weight_map"]["encoder.layer.9.output.dense.bias"] = "model-00002-of-00002.safetensors".into();
    write(&path, absent.to_string());
    refused(&at, &["encoder.layer.9.output.dense.bias", "the file lacks it"]);
    write(&path, index.to_string());
    let second = at.join("model-00002-of-00002.safetensors");
    let whole = std::fs::read(&second).unwrap();
    let mut twice: Tensors = tensors()
        .into_iter()
        .filter(|(name, _)| index["weight_map"][name] != index["weight_map"][&first])
        .collect();
    twice.insert(first.clone(), tensors()[&first].clone());
    save(&second, &twice);
    refused(&at, &[&first, "twice"]);
    write(&second, &whole[..whole.len() - 8]);
    refused(&at, &["model-00002-of-00002.safetensors", "truncated"]);
    write(&second, POINTER);
    refused(&at, &["model-00002-of-00002.safetensors", "Git LFS", "git lfs pull"]);
    std::fs::remove_file(&second).unwrap();
    refused(&at, &["no model-00002-of-00002.safetensors"]);

    // One file: two encoders in it, and numbers of another kind.
    let one = at.join("model.safetensors");
    let mut two = prefixed("query.", &tensors());
    two.extend(prefixed("document.", &tensors()));
    save(&one, &two);
    refused(&at, &["several encoders", "query.embeddings", "document.embeddings"]);
    let mut wide = tensors();
    let tensor = wide.get_mut(&first).unwrap();
    (tensor.0, tensor.2) = (safetensors::Dtype::F64, [&tensor.2[..], &tensor.2[..]].concat());
    save(&one, &wide);
    refused(&at, &[&first, "F64", "32-bit floats"]);
}

#[test]
fn failed_downloads_are_named_whatever_the_file() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    write(&at.join("modules.json"), MODULES);
    write(&at.join("1_Pooling/config.json"), "{}");
    write(&at.join("tokenizer_config.json"), "{}");
    let files = [
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "modules.json",
        "1_Pooling/config.json",
        "tokenizer_config.json",
    ];
    for name in files {
        let path = at.join(name);
        let good = std::fs::read(&path).unwrap();
        for (content, parts) in [
            (POINTER, ["Git LFS pointer", "git lfs pull"]),
            ("<!DOCTYPE html><html><head>", ["web page", "download it again"]),
            ("", ["empty", "download it again"]),
        ] {
            write(&path, content);
            refused(&at, &[name, parts[0], parts[1]]);
        }
        write(&path, &good);
    }
    write(&at.join("config.json"), &config().to_string()[..60]);
    refused(&at, &["config.json", "ends in the middle"]);
    write(&at.join("config.json"), config().to_string());
    std::fs::rename(at.join("tokenizer.json"), at.join("vocab.txt")).unwrap();
    refused(&at, &["no `tokenizer.json`", "vocab.txt", "AutoTokenizer"]);
    std::fs::rename(at.join("vocab.txt"), at.join("tokenizer.json")).unwrap();
    std::fs::rename(at.join("model.safetensors"), at.join("pytorch_model.bin")).unwrap();
    refused(&at, &["pytorch_model.bin", "AutoModel.from_pretrained"]);
}

#[test]
fn a_directory_with_only_an_onnx_file_is_imported_as_that() {
    let directory = directory();
    let at = directory.path().join("model");
    let fixture = |name: &str| std::fs::read(root().join("tests/data/foreign_onnx").join(name)).unwrap();
    write(&at.join("onnx/model.onnx"), fixture("encoder.onnx"));
    write(&at.join("tokenizer.json"), fixture("tokenizer.json"));
    write(&at.join("config.json"), r#"{"model_type": "bert", "max_position_embeddings": 40}"#);
    write(&at.join("1_Pooling/config.json"), r#"{"pooling_mode_cls_token": true}"#);
    let (manifest, said) = imported(&at, &[]);
    assert!(
        said.contains("ONNX graph, 24 dimensions, cls pooling, at most 40 tokens (config.json"),
        "{said}"
    );
    assert_eq!(manifest["source"]["origin"], "model");
    write(&at.join("onnx/model_quantized.onnx"), "never read");
    let (_, said) = imported(&at, &[]);
    assert!(said.contains("took onnx/model.onnx, not onnx/model_quantized.onnx"), "{said}");
    std::fs::rename(at.join("onnx/model.onnx"), at.join("onnx/model_O2.onnx")).unwrap();
    std::fs::remove_dir_all(at.with_extension("imported")).unwrap();
    refused(&at, &["several ONNX files", "model_O2.onnx", "model_quantized.onnx"]);
    // The advice: the file itself.
    imported(&at.join("onnx/model_O2.onnx"), &[]);
}

#[test]
fn what_the_pooling_file_says_is_done_or_refused() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    let pooling = at.join("1_Pooling/config.json");
    write(&pooling, r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#);
    assert_eq!(imported(&at, &[]).0["preparation"]["pooling"], "cls");
    std::fs::remove_dir_all(at.with_extension("imported")).unwrap();
    for mode in ["weightedmean_tokens", "lasttoken", "mean_sqrt_len_tokens"] {
        write(&pooling, format!(r#"{{"pooling_mode_{mode}": true, "pooling_mode_cls_token": false}}"#));
        refused(&at, &["1_Pooling/config.json", mode, "--pooling mean"]);
    }
    // The advice works, and says what was chosen.
    let (manifest, said) = imported(&at, &["--pooling", "mean"]);
    assert_eq!(manifest["preparation"]["pooling"], "mean");
    assert!(said.contains("made for another (mean_sqrt_len_tokens)"), "{said}");
    std::fs::remove_dir_all(at.with_extension("imported")).unwrap();
    write(&at.join("2_Dense/config.json"), "{}");
    refused(&at, &["2_Dense/config.json", "in_features"]);
    write(&at.join("modules.json"), MODULES.replace("1_Pooling", "../1_Pooling"));
    refused(&at, &["modules.json", "../1_Pooling", "outside"]);
}

#[test]
fn the_smallest_length_that_a_file_says_is_the_limit() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    let said = |more: &[&str]| {
        let (manifest, said) = imported(&at, more);
        (manifest["preparation"]["max_length"].as_u64().unwrap(), said)
    };
    let check = |more: &[&str], tokens: u64, by: &str| {
        let (found, said) = said(more);
        assert_eq!(found, tokens, "{said}");
        assert!(said.contains(&format!("at most {tokens} tokens ({by})")), "{said}");
    };
    check(&[], 48, "config.json, max_position_embeddings");
    write(&at.join("tokenizer_config.json"), r#"{"model_max_length": 8}"#);
    check(&[], 8, "tokenizer_config.json, model_max_length");
    check(&["--max-length", "20"], 20, "--max-length");
    write(&at.join("sentence_bert_config.json"), r#"{"max_seq_length": 6}"#);
    check(&[], 6, "sentence_bert_config.json, max_seq_length");
    write(&at.join("tokenizer_config.json"), r#"{"model_max_length": 1000000000000000019884624838656}"#);
    write(&at.join("sentence_bert_config.json"), r#"{"max_seq_length": null}"#);
    check(&[], 48, "config.json, max_position_embeddings");
    import(&at, &["--max-length", "49"]).0.fails_with(&["49", "at most 48"]);
    std::fs::remove_dir_all(at.with_extension("imported")).unwrap();
    write(&at.join("sentence_bert_config.json"), r#"{"max_seq_length": 1}"#);
    refused(&at, &[text(&at), "no room for text", "found 1 (sentence_bert_config.json, max_seq_length)"]);
    write(
        &at.join("config_sentence_transformers.json"),
        r#"{"default_prompt_name": "query", "prompts": {}}"#,
    );
    refused(&at, &[text(&at), "no such prompt", "query"]);
    std::fs::remove_file(at.join("config_sentence_transformers.json")).unwrap();
    for (file, field) in
        [("tokenizer_config.json", "model_max_length"), ("sentence_bert_config.json", "max_seq_length")]
    {
        for wrong in ["\"many\"", "-1", "0", "3.5"] {
            write(&at.join(file), format!("{{\"{field}\": {wrong}}}"));
            refused(&at, &[file, &format!("field \"{field}\""), wrong]);
        }
        write(&at.join(file), "{}");
    }
}

#[test]
fn tokenizers_with_faults_are_refused_at_import() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    let with = |change: &dyn Fn(&mut Value), parts: &[&str]| {
        let mut file = tokenizer();
        change(&mut file);
        write(&at.join("tokenizer.json"), file.to_string());
        refused(&at, &[&["tokenizer.json"], parts].concat());
    };
    let drop_unknown = |file: &mut Value| {
        file["model"]["vocab"].as_object_mut().unwrap().remove("[UNK]");
    };
    with(&drop_unknown, &["fails on a text", "U+"]);
    with(&|file| file["added_tokens"][2]["id"] = 7.into(), &["[CLS]", "id 2", "id 7"]);
    with(
        &|file| {
            let mut far = file["added_tokens"][0].clone();
            (far["id"], far["content"]) = (65.into(), "<far>".into());
            file["model"]["vocab"]["late"] = 120.into();
            file["added_tokens"].as_array_mut().unwrap().push(far);
        },
        &["vocabulary", "121 token ids", "100"],
    );
    with(
        &|file| file["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([5000]),
        &["[CLS]", "id 5000"],
    );
    with(
        &|file| {
            let token = json!({"id": "[NEW]", "ids": [4], "tokens": ["[NEW]"]});
            file["post_processor"]["special_tokens"]["[NEW]"] = token;
            file["post_processor"]["single"][0]["SpecialToken"]["id"] = "[NEW]".into();
        },
        &["[NEW]", "a vocabulary without it"],
    );
    with(
        &|file| {
            let text = file["post_processor"]["single"][1].clone();
            file["post_processor"]["single"].as_array_mut().unwrap().push(text);
        },
        &["not made for one text", "2 times"],
    );
    with(&|file| file["post_processor"]["single"][1]["Sequence"]["type_id"] = 1.into(), &["token type 1"]);
    // Which of these two is found would be drawn by lot whenever the tokenizer is read.
    with(
        &|file| {
            for (id, content) in [(65, "Cat"), (66, "cAt")] {
                let mut same = file["added_tokens"][0].clone();
                (same["id"], same["content"], same["normalized"]) = (id.into(), content.into(), true.into());
                file["added_tokens"].as_array_mut().unwrap().push(same);
            }
        },
        &["\"Cat\" and \"cAt\"", "normalized"],
    );
    // A mark of which the normalizer leaves nothing would make the library panic.
    with(
        &|file| {
            let mut nothing = file["added_tokens"][0].clone();
            nothing["content"] = "\u{301}".into();
            (nothing["id"], nothing["normalized"]) = (65.into(), true.into());
            file["added_tokens"].as_array_mut().unwrap().push(nothing);
        },
        &["leaves nothing"],
    );
    // Lengths and padding of the file are not the model's: they are ignored.
    let mut file = tokenizer();
    file["truncation"] =
        json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = json!({"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"});
    write(&at.join("tokenizer.json"), file.to_string());
    imported(&at, &[]);
}

/// Two tasks' worth of short rows.
fn rows(at: &Path) -> PathBuf {
    let rows = (0..40).map(|row| format!("the {} sat {row},{}\n", ["cat", "dog"][row % 2], row % 2));
    write(at, format!("text,kind\n{}", rows.collect::<String>()));
    at.to_owned()
}

#[test]
fn a_tokenizer_that_says_nothing_of_lengths_goes_into_a_bundle_and_out_of_it() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    let mut file = tokenizer();
    for field in ["truncation", "padding"] {
        file.as_object_mut().unwrap().remove(field);
    }
    write(&at.join("tokenizer.json"), file.to_string());
    imported(&at, &[]);
    let place = |name: &str| directory.path().join(name);
    let (backbone, data) = (at.with_extension("imported"), rows(&place("rows.csv")));
    let (run, bundle) = (place("run"), place("x.frost"));
    let train = ["train", text(&data), "--backbone", text(&backbone), "--task", "kind", "--out", text(&run)];
    frosthead(&train).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let predicted =
        |model: &Path| frosthead(&["predict", text(&data), "--model", text(model)]).success().json_lines();
    // A run's head is computed here, a bundle's by ONNX Runtime: f32 has 24 bits, 6e-8 of numbers near 1.
    for (run, bundle) in predicted(&run).iter().zip(predicted(&bundle)) {
        assert_eq!(run["kind_predicted"], bundle["kind_predicted"]);
        let [run, bundle] = [run, &bundle].map(|row| row["kind_probability"].as_f64().unwrap());
        assert!((run - bundle).abs() < 1e-6, "{run} {bundle}");
    }
    // The file inside, put back, is the backbone's: so are its features.
    let lines = ["the cat sat".to_owned()];
    let of = |model: &Path| embeddings(model, &lines, &place("cache"), &["--store-layers", "last"]);
    assert_eq!(of(&backbone), of(&bundle));
    let stored = std::fs::read_dir(place("cache").join("features")).unwrap().count();
    assert_eq!(stored, 1, "a bundle's backbone is the imported one");
}

#[test]
fn a_text_that_the_tokenizer_fails_on_is_named_with_its_row_by_every_command() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    // Every character but one becomes an "a": no trial can know of that one.
    let mut file = tokenizer();
    file["normalizer"] = json!({"type": "Replace", "pattern": {"Regex": "[^🦖 ]"}, "content": "a"});
    file["pre_tokenizer"] = json!({"type": "WhitespaceSplit"});
    let vocabulary = json!([["[PAD]", 0.0], ["[UNK]", 0.0], ["[CLS]", 0.0], ["[SEP]", 0.0], ["a", -1.0]]);
    file["model"] = json!({"type": "Unigram", "unk_id": null, "vocab": vocabulary});
    write(&at.join("tokenizer.json"), file.to_string());
    imported(&at, &[]);
    let place = |name: &str| directory.path().join(name);
    let backbone = at.with_extension("imported");
    let (good, bad) = (rows(&place("good.csv")), place("bad.csv"));
    let content = std::fs::read_to_string(&good).unwrap();
    // More rows than are tokenised at a time.
    write(&bad, format!("{content}{}🦖 came,1\nthe cat,0\n", "the dog,1\n".repeat(600)));
    let said = ["bad.csv, row 641", "the tokenizer failed on a text", "🦖"];
    let (run, out) = (place("run"), place("x.parquet"));
    let embed = ["embed", text(&bad), "--backbone", text(&backbone), "--out", text(&out)];
    frosthead(&embed).fails_with(&said);
    let train = |data: &Path| {
        let train =
            ["train", text(data), "--backbone", text(&backbone), "--task", "kind", "--out", text(&run)];
        frosthead(&train)
    };
    train(&bad).fails_with(&said);
    train(&good).success();
    frosthead(&["eval", text(&bad), "--model", text(&run)]).fails_with(&said);
    frosthead(&["predict", text(&bad), "--model", text(&run)]).fails_with(&said);
}

/// The embeddings of the lines of a text file.
fn embeddings(model: &Path, lines: &[String], cache: &Path, more: &[&str]) -> Vec<Vec<f32>> {
    let directory = directory();
    let (data, out) = (directory.path().join("x.jsonl"), directory.path().join("x.parquet"));
    let rows: String = lines.iter().map(|line| format!("{}\n", json!({"text": line}))).collect();
    write(&data, rows);
    let arguments =
        ["embed", text(&data), "--backbone", text(model), "--out", text(&out), "--cache", text(cache)];
    frosthead(&[&arguments[..], more].concat()).success();
    let table = crate::harness::features(&out, None);
    table.features.chunks_exact(table.width).map(<[f32]>::to_vec).collect()
}

#[test]
fn dropout_in_a_tokenizer_file_is_off() {
    let directory = directory();
    let at = directory.path().join("model");
    model(&at);
    let mut file = tokenizer();
    let merges: Vec<[&str; 2]> =
        vec![["t", "h"], ["th", "e"], ["c", "a"], ["ca", "t"], ["d", "o"], ["do", "g"]];
    let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|word, _| !word.starts_with("##"));
    for word in ["th", "ca", "do"] {
        let id = 5 + vocabulary.values().filter_map(Value::as_u64).max().unwrap();
        vocabulary.insert(word.to_owned(), id.into());
    }
    file["model"] =
        json!({"type": "BPE", "unk_token": "[UNK]", "vocab": vocabulary, "merges": merges, "dropout": 0.5});
    write(&at.join("tokenizer.json"), file.to_string());
    imported(&at, &[]);
    let out = at.with_extension("imported");
    let line = ["the cat the dog the cat the dog the dog".to_owned()];
    let of = |cache: &str| embeddings(&out, &line, &directory.path().join(cache), &[]);
    let first = of("a");
    assert!((0..4).all(|again| of(&format!("again-{again}")) == first));
    file["model"]["dropout"] = Value::Null;
    write(&at.join("tokenizer.json"), file.to_string());
    imported(&at, &[]);
    assert_eq!(of("without"), first);
}

#[test]
fn long_texts_of_tokenizers_with_added_tokens_have_the_ids_of_the_whole() {
    let directory = directory();
    let at = directory.path().join("model");
    for (content, unit) in [("covid19", "covid19"), ("气很", "天气很")] {
        model(&at);
        let mut file = tokenizer();
        let mut added = file["added_tokens"][0].clone();
        (added["content"], added["id"]) = (content.into(), 65.into());
        (added["normalized"], added["special"]) = (true.into(), false.into());
        file["added_tokens"].as_array_mut().unwrap().push(added);
        write(&at.join("tokenizer.json"), file.to_string());
        imported(&at, &[]);
        let out = at.with_extension("imported");
        // Short enough to be tokenised whole anyway, long enough for every token that is read.
        let (long, start) = (unit.repeat(40_000 / unit.len()), unit.repeat(600 / unit.len()));
        let found = embeddings(&out, &[long.clone(), start], &directory.path().join(content), &[]);
        assert_eq!(found[0], found[1], "{content}");
        let window = ["--long", "windows", "--window", "20", "--max-windows", "1000000"];
        let cache = directory.path().join(format!("{content}-windows"));
        // Windows of 18 tokens: as many units as give whole windows all have the embedding of one window.
        let of = |times: usize| unit.repeat(times);
        let found = embeddings(&out, &[of(18 * 200), of(18)], &cache, &window);
        let apart = found[0].iter().zip(&found[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{content}: {apart}");
        std::fs::remove_dir_all(&at).unwrap();
    }
}
