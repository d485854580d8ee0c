//! Checks that every accepted checkpoint becomes the same layout, and that every broken one is refused by
//! name.

use std::fs;

use super::*;
use crate::encoder::family::{Family, Named};
use crate::encoder::tensors::{POSITIONS, TOKEN_TYPES};

/// Name → (element type, shape, bytes), as in a file.
pub(super) type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

pub(super) fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let parts = tensors
        .iter()
        .map(|(name, t)| (name.to_owned(), (t.dtype().to_string(), t.shape().to_vec(), t.data().to_vec())));
    parts.collect()
}

/// A safetensors file, written without the library so that it can be wrong.
pub(super) fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(
            name.clone(),
            serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets }),
        );
        data.extend(bytes);
    }
    let header = Json::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(data);
    fs::write(path, file).unwrap();
}

fn source(checkpoint: &str) -> PathBuf {
    file(&format!("tests/data/bert_tiny_{checkpoint}.safetensors"))
}

const QUERY: &str = "bert.encoder.layer.1.attention.self.query.weight";

/// The error of converting a file; nothing may be left in the target's folder.
fn refused_file(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (from, into) = (folder.path().join("in.safetensors"), folder.path().join("out"));
    fs::create_dir(&into).unwrap();
    fs::write(&from, bytes).unwrap();
    let error = tiny_config("gelu").convert(&from, &into.join(WEIGHT_FILE)).unwrap_err();
    assert_eq!(error.kind(), Kind::Model);
    assert!(fs::read_dir(&into).unwrap().next().is_none(), "something was left behind");
    let message = error.to_string();
    assert!(message.contains("in.safetensors"), "{message}");
    message
}

/// The error of converting the tiny checkpoint after a change.
fn refused(change: impl FnOnce(&mut Tensors)) -> String {
    let mut tensors = read(&source("pretraining"));
    change(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed");
    write(&path, &tensors);
    refused_file(&fs::read(&path).unwrap())
}

#[test]
fn the_canonical_file_holds_exactly_the_encoder_in_f32_from_a_page_boundary_on() {
    let model = Model::tiny("pretraining", "gelu");
    let path = model.folder.path().join(WEIGHT_FILE);
    let bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!((header + 8) % 4096, 0);
    let (original, converted) = (read(&source("pretraining")), read(&path));
    assert_eq!(converted.len(), 5 + 2 * 16);
    for (name, tensor) in &converted {
        let old = format!("bert.{name}")
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        assert_eq!(tensor, &original[&old], "{name}");
    }
}

#[test]
fn half_precision_is_widened_exactly() {
    let original = read(&source("bf16"));
    let model = Model::tiny("bf16", "gelu");
    let converted = read(&model.folder.path().join(WEIGHT_FILE));
    let (_, _, narrow) = &original["bert.encoder.layer.0.output.dense.weight"];
    let (_, _, wide) = &converted["encoder.layer.0.output.dense.weight"];
    // The upper half of a 32-bit float is its bfloat16.
    let upper: Vec<u8> = wide.chunks_exact(4).flat_map(|bytes| [bytes[2], bytes[3]]).collect();
    assert_eq!(&upper, narrow);
    assert!(wide.chunks_exact(4).all(|bytes| bytes[..2] == [0, 0]));
}

#[test]
fn converting_again_or_what_is_converted_gives_the_same_bytes() {
    let model = Model::tiny("pretraining", "gelu");
    let path = model.folder.path().join(WEIGHT_FILE);
    let first = fs::read(&path).unwrap();
    let published = tiny_config("gelu");
    published.convert(&path, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    published.convert(&source("pretraining"), &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
}

/// BERT with other names, two positions that nobody asks for, and no token types.
static MADE_UP: Family = Family {
    name: "made-up",
    model_types: &[("made-up", "made-up")],
    classes: &[],
    prefix: "made-up",
    config: |_| unreachable!("the test has a configuration"),
    tensor: |name| match name.strip_prefix("net.") {
        Some(ours) => Named::Ours(ours.to_owned()),
        None if name.starts_with("answers.") => Named::LeftOut,
        None => Named::Unknown,
    },
    skipped_rows: |name, _| if name == POSITIONS { 2 } else { 0 },
    zeros: &[TOKEN_TYPES],
    tied: "answers.weight",
};

#[test]
fn a_family_says_how_names_are_spelled_which_rows_are_left_and_what_is_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let model = Model::tiny("pretraining", "gelu");
    let ours = read(&model.folder.path().join(WEIGHT_FILE));
    let mut theirs: Tensors =
        ours.iter().map(|(name, tensor)| (format!("model.net.{name}"), tensor.clone())).collect();
    theirs.remove(&format!("model.net.{TOKEN_TYPES}"));
    let (_, shape, bytes) = theirs.get_mut(&format!("model.net.{POSITIONS}")).unwrap();
    bytes.splice(..0, vec![0x3f; 2 * 4 * shape[1]]);
    shape[0] += 2;
    theirs.insert("answers.weight".to_owned(), theirs[&format!("model.net.{POSITIONS}")].clone());
    let published = Published { family: &MADE_UP, ..tiny_config("gelu") };
    write(&from, &theirs);
    published.convert(&from, &to).unwrap();
    let mut expected = ours;
    expected.get_mut(TOKEN_TYPES).unwrap().2.fill(0);
    assert_eq!(read(&to), expected);

    let refused = |theirs: &Tensors| {
        write(&from, theirs);
        published.convert(&from, &to).unwrap_err().to_string()
    };
    let mut unknown = theirs.clone();
    unknown.insert("model.other".to_owned(), theirs["answers.weight"].clone());
    let message = refused(&unknown);
    assert!(message.contains("\"model.other\" is not known") && message.contains("made-up"), "{message}");
    theirs.insert(format!("model.net.{POSITIONS}"), expected[POSITIONS].clone());
    let message = refused(&theirs);
    assert!(
        message.contains("model.net.embeddings.position") && message.contains("wrong shape"),
        "{message}"
    );
}

#[test]
fn a_missing_tensor_is_refused() {
    let message = refused(|tensors| drop(tensors.remove(QUERY)));
    assert!(message.contains("query.weight\" is missing") && message.contains("[32, 32]"), "{message}");
}

#[test]
fn a_tensor_of_the_wrong_shape_is_refused() {
    let message = refused(|tensors| tensors.get_mut(QUERY).unwrap().1 = vec![16, 64]);
    assert!(message.contains(QUERY) && message.contains("found [16, 64], expected [32, 32]"), "{message}");
}

#[test]
fn a_tensor_of_the_wrong_element_type_is_refused() {
    let message = refused(|tensors| tensors.get_mut(QUERY).unwrap().0 = "I32".to_owned());
    assert!(message.contains(QUERY) && message.contains("found I32, expected F32, F16, BF16"), "{message}");
}

#[test]
fn a_tensor_that_is_not_known_is_refused() {
    let extra = "bert.encoder.layer.0.attention.self.distance_embedding.weight";
    let message = refused(|tensors| {
        let copy = tensors[QUERY].clone();
        tensors.insert(extra.to_owned(), copy);
    });
    assert!(message.contains(extra) && message.contains("is not known"), "{message}");
    let message = refused(|tensors| {
        let copy = tensors[QUERY].clone();
        tensors.insert("linear.weight".to_owned(), copy);
    });
    assert!(message.contains("\"linear.weight\" is not known"), "{message}");
}

#[test]
fn more_layers_than_the_configuration_says_are_refused() {
    let message = refused(|tensors| {
        let copy = tensors[QUERY].clone();
        tensors.insert(QUERY.replace("layer.1", "layer.2"), copy);
    });
    assert!(message.contains("layer.2") && message.contains("2 layers"), "{message}");
}

#[test]
fn a_tensor_under_two_names_is_refused() {
    let message = refused(|tensors| {
        let copy = tensors[QUERY].clone();
        tensors.insert(QUERY.replace("bert.", ""), copy);
    });
    assert!(message.contains("two names") && message.contains(QUERY), "{message}");
}

#[test]
fn a_number_that_is_not_finite_is_refused() {
    let message =
        refused(|tensors| tensors.get_mut(QUERY).unwrap().2[40..44].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert!(message.contains(QUERY) && message.contains("NaN at element 10"), "{message}");
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = fs::read(source("pretraining")).unwrap();
    let message = refused_file(&bytes[..bytes.len() - 1]);
    assert!(message.contains("truncated") && message.contains("tensor \""), "{message}");
    assert!(refused_file(&bytes[..1000]).contains("a header of"));
    assert!(refused_file(&bytes[..5]).contains("5 bytes"));
    assert!(refused_file(b"").contains("0 bytes"));
}

#[test]
fn bytes_after_the_last_tensor_are_refused() {
    let mut bytes = fs::read(source("pretraining")).unwrap();
    bytes.push(0);
    assert!(refused_file(&bytes).contains("more than its tensors"));
}

#[test]
fn a_pytorch_pickle_and_a_git_lfs_pointer_are_refused_as_what_they_are() {
    assert!(refused_file(b"PK\x03\x04 archive/data.pkl").contains("PyTorch pickle"));
    assert!(refused_file(b"\x80\x02}q\x00(X\x05").contains("PyTorch pickle"));
    assert!(refused_file(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
}

fn with_header(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
}

#[test]
fn a_damaged_header_is_refused() {
    assert!(refused_file(&with_header("{\"a\":")).contains("not a JSON object"));
    assert!(refused_file(&with_header("[]")).contains("not a JSON object"));
    let message = refused_file(&with_header(r#"{"a":{"dtype":"F32","shape":"x","data_offsets":[0,16]}}"#));
    assert!(message.contains("entry of the tensor \"a\" is damaged"), "{message}");
    let message = refused_file(&with_header(r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#));
    assert!(message.contains("\"a\" is damaged") && message.contains("F99"), "{message}");
}

#[test]
fn offsets_that_overlap_leave_gaps_or_do_not_fit_the_shape_are_refused() {
    for offsets in ["[4,16]", "[0,12]", "[16,0]"] {
        let header = format!(r#"{{"a":{{"dtype":"F32","shape":[4],"data_offsets":{offsets}}}}}"#);
        assert!(refused_file(&with_header(&header)).contains("\"a\" is damaged"), "{offsets}");
    }
    let huge = format!(r#"{{"a":{{"dtype":"F32","shape":[{0},{0}],"data_offsets":[0,16]}}}}"#, u64::MAX / 2);
    assert!(refused_file(&with_header(&huge)).contains("\"a\" is damaged"));
}

#[test]
fn files_that_cannot_be_read_or_written_are_errors_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let (published, nowhere) = (tiny_config("gelu"), folder.path().join("no/such/folder"));
    let error = published.convert(&nowhere, &folder.path().join("out")).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    let error = published.convert(&source("f16"), &nowhere).unwrap_err();
    assert_eq!(error.kind(), Kind::Io);
    assert_eq!(Weights::open(&nowhere, &published.config).unwrap_err().kind(), Kind::Io);
}

/// The error of opening the canonical file after a change.
fn not_canonical(change: impl FnOnce(&mut Tensors)) -> String {
    let model = Model::tiny("pretraining", "gelu");
    let path = model.folder.path().join(WEIGHT_FILE);
    let mut tensors = read(&path);
    change(&mut tensors);
    write(&path, &tensors);
    let error = Weights::open(&path, &model.config).unwrap_err();
    assert_eq!(error.kind(), Kind::Model);
    error.to_string()
}

#[test]
fn a_weight_file_is_checked_tensor_by_tensor_when_it_is_opened() {
    let query = QUERY.strip_prefix("bert.").unwrap();
    let message = not_canonical(|tensors| drop(tensors.remove(query)));
    assert!(message.contains(query) && message.contains("is missing"), "{message}");
    let message = not_canonical(|tensors| tensors.get_mut(query).unwrap().1 = vec![1024]);
    assert!(message.contains("found [1024], expected [32, 32]"), "{message}");
    let message = not_canonical(|tensors| {
        let (dtype, _, bytes) = tensors.get_mut(query).unwrap();
        *dtype = "F16".to_owned();
        bytes.truncate(2048);
    });
    assert!(message.contains("found F16, expected F32"), "{message}");
    let message = not_canonical(|tensors| {
        let copy = tensors[query].clone();
        tensors.insert("pooler.dense.weight".to_owned(), copy);
    });
    assert!(message.contains("\"pooler.dense.weight\" does not belong here"), "{message}");
}

#[test]
fn a_truncated_weight_file_is_refused_when_it_is_opened() {
    let model = Model::tiny("pretraining", "gelu");
    let path = model.folder.path().join(WEIGHT_FILE);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 4).unwrap();
    let message = Weights::open(&path, &model.config).unwrap_err().to_string();
    assert!(message.contains("truncated"), "{message}");
}
