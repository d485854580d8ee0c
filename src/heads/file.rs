//! Owns `heads.safetensors`: tensors `heads.TASK.weight` `[classes, features]`, `heads.TASK.bias` `[classes]`
//! and `heads.TASK.temperature` (f32), `[1]`, or `[classes]` where several labels can be true, and in the
//! metadata entry `tasks` a JSON list of `{"task", "kind", "labels", "thresholds", "interval"}` in the order of
//! the heads; without a kind, an answer is one of the labels. A head with
//! words has `heads.TASK.words.index` `[places]` (u32), `.codes` `[rows, classes]` (i32) and `.scales`
//! `[classes]` too, and `"words"` in its entry.
//!
//! Refuses to use a file before everything in it fits together.

use serde::{Deserialize, Serialize};

use super::believed::Believed;
use super::head::Head;
use super::word_options::{SettledWords, Weighing};
use super::words::Words;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::metrics::Interval;
use crate::task::TaskKind;
use crate::tensors::{Dtype, TensorFile, Tensors};
use crate::tokens::Grams;

const TASKS: &str = "tasks";

#[derive(Serialize, Deserialize)]
struct TaskEntry {
    task: String,
    #[serde(default, skip_serializing_if = "TaskKind::is_default")]
    kind: TaskKind,
    labels: Vec<String>,
    /// As [`Believed`] has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    thresholds: Vec<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    words: Option<WordsEntry>,
}

/// What there is to say of a head's words beside their tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WordsEntry {
    places: Grams,
    fit: SettledWords,
}

/// The file's bytes; the same heads give the same bytes.
#[must_use]
pub fn to_bytes(heads: &[Head]) -> Vec<u8> {
    let mut file = TensorFile::default();
    for head in heads {
        let classes = head.labels.len();
        file.add_floats(weight_name(&head.task), &[classes, head.features], &head.weights);
        file.add_floats(bias_name(&head.task), &[classes], &head.bias);
        let temperature = &head.believed.temperature;
        file.add_floats(temperature_name(&head.task), &[temperature.len()], temperature);
        head.words.iter().for_each(|words| add_words(&mut file, &head.task, words));
    }
    let words = |words: &Words| {
        let nothing = SettledWords { weighing: Weighing::Plain, alpha: 1.0, counts: [1.0; 2] };
        WordsEntry { places: words.grams.clone(), fit: words.settled.unwrap_or(nothing) }
    };
    let entry = |head: &Head| TaskEntry {
        task: head.task.clone(),
        kind: head.kind,
        labels: head.labels.clone(),
        thresholds: head.believed.thresholds.clone(),
        interval: head.believed.interval,
        words: head.words.as_ref().map(words),
    };
    file.note(TASKS, &heads.iter().map(entry).collect::<Vec<_>>());
    file.to_bytes()
}

/// Reads heads, everything checked.
///
/// # Errors
/// The bytes are damaged, or their parts do not fit together.
pub fn read(bytes: &[u8]) -> Result<Vec<Head>> {
    let wrong = |what: &str| Error::new(Kind::Heads, what.to_owned());
    let file = Tensors::read(bytes, Kind::Heads)?;
    let tasks = file.note(TASKS).ok_or_else(|| wrong("the file does not say which tasks it holds"))?;
    let tasks: Vec<TaskEntry> =
        document::json(tasks.as_bytes(), Kind::Heads, "the list of tasks is not readable")?;
    let tensors = file.names().len();
    let expected = 3 * (tasks.len() + tasks.iter().filter(|task| task.words.is_some()).count());
    if tensors != expected || tasks.is_empty() {
        return Err(wrong("the tensors are not those of the tasks")
            .found(format!("{tensors} tensors"))
            .expected(format!("{expected} for {} tasks", tasks.len())));
    }
    tasks.into_iter().map(|entry| head(&file, entry)).collect()
}

fn head(file: &Tensors<'_>, entry: TaskEntry) -> Result<Head> {
    let TaskEntry { task, kind, labels, thresholds, interval, words } = entry;
    let (shape, weights) = tensor(file, &weight_name(&task))?;
    let (bias_shape, bias) = tensor(file, &bias_name(&task))?;
    let (classes, features) = match shape[..] {
        [classes, features]
            if classes == labels.len()
                && classes >= kind.least_labels()
                && (features > 0 || words.is_some()) =>
        {
            (classes, features)
        }
        _ => {
            return Err(Error::new(Kind::Heads, "the weights do not fit the labels")
                .tensor(weight_name(&task))
                .found(format!("shape {shape:?}"))
                .expected(format!("[{}, features]", labels.len())));
        }
    };
    if bias_shape != [classes] {
        return Err(Error::new(Kind::Heads, "the bias does not fit the labels")
            .tensor(bias_name(&task))
            .found(format!("shape {bias_shape:?}"))
            .expected(format!("[{classes}]")));
    }
    let (temperature_shape, temperature) = tensor(file, &temperature_name(&task))?;
    let wanted = kind.temperatures(classes);
    if temperature_shape != [wanted] {
        return Err(Error::new(Kind::Heads, "a head has one temperature, or one for each of several labels")
            .tensor(temperature_name(&task))
            .found(format!("shape {temperature_shape:?}"))
            .expected(format!("[{wanted}]")));
    }
    if let Some(wrong) = temperature.iter().find(|temperature| **temperature <= 0.0) {
        return Err(Error::new(Kind::Heads, "a temperature is above 0")
            .tensor(temperature_name(&task))
            .found(wrong.to_string()));
    }
    let believed = Believed { temperature, thresholds, interval };
    if !believed.fits(kind, classes) {
        return Err(
            Error::new(Kind::Heads, "the thresholds or the interval are not those of the task").task(task)
        );
    }
    let words = words.map(|entry| read_words(file, &task, classes, entry)).transpose()?;
    Ok(Head { task, kind, labels, features, weights, bias, believed, words })
}

fn add_words(file: &mut TensorFile, task: &str, words: &Words) {
    let bytes = words.index.iter().flat_map(|row| row.to_le_bytes()).collect();
    file.add(words_name(task, "index"), Dtype::U32, &[words.index.len()], bytes);
    let bytes = words.codes.iter().flat_map(|code| code.to_le_bytes()).collect();
    let classes = words.classes();
    file.add(words_name(task, "codes"), Dtype::I32, &[words.codes.len() / classes, classes], bytes);
    file.add_floats(words_name(task, "scales"), &[classes], &words.scales);
}

fn read_words(file: &Tensors<'_>, task: &str, classes: usize, entry: WordsEntry) -> Result<Words> {
    let index = file.get(&words_name(task, "index"), Dtype::U32)?;
    let index = index.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let codes = file.get(&words_name(task, "codes"), Dtype::I32)?;
    let codes = codes.data().as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
    let (_, scales) = tensor(file, &words_name(task, "scales"))?;
    let words = Words { grams: entry.places, index, codes, scales, settled: Some(entry.fit) };
    if words.classes() != classes {
        return Err(Error::new(Kind::Heads, "the words do not fit the labels")
            .task(task)
            .found(format!("{} classes", words.classes()))
            .expected(classes.to_string()));
    }
    words.check().map_err(|error| error.task(task))?;
    Ok(words)
}

fn words_name(task: &str, what: &str) -> String {
    format!("heads.{task}.words.{what}")
}

fn tensor(file: &Tensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let (shape, numbers) = file.floats(name)?;
    if numbers.iter().all(|number| number.is_finite()) {
        return Ok((shape, numbers));
    }
    Err(Error::new(Kind::Heads, "a tensor holds numbers that are not finite").tensor(name))
}

fn weight_name(task: &str) -> String {
    format!("heads.{task}.weight")
}

fn bias_name(task: &str) -> String {
    format!("heads.{task}.bias")
}

fn temperature_name(task: &str) -> String {
    format!("heads.{task}.temperature")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Vec<Head> {
        let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        vec![
            Head {
                task: "z".into(),
                kind: TaskKind::OneOf,
                labels: labels(&["a", "b", "c"]),
                features: 2,
                weights: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                bias: vec![0.1, 0.2, 0.3],
                believed: Believed::with_temperature(vec![1.5]),
                words: None,
            },
            Head {
                task: "a".into(),
                kind: TaskKind::OneOf,
                labels: labels(&["no", "yes"]),
                features: 2,
                weights: vec![1.0; 4],
                bias: vec![0.0; 2],
                believed: Believed::with_temperature(vec![1.0]),
                words: None,
            },
        ]
    }

    fn saved(heads: &[Head]) -> Vec<u8> {
        to_bytes(heads)
    }

    #[track_caller]
    fn refused(bytes: &[u8], part: &str) {
        let error = read(bytes).unwrap_err();
        assert_eq!(error.kind(), Kind::Heads);
        assert!(error.to_string().contains(part), "{error}");
    }

    /// The heads after a change that `to_bytes` does not check.
    fn with(change: impl FnOnce(&mut Head)) -> Vec<u8> {
        let mut heads = heads();
        change(&mut heads[0]);
        saved(&heads)
    }

    #[test]
    fn heads_round_trip_in_their_order_with_the_same_bytes() {
        let bytes = saved(&heads());
        assert_eq!(bytes, saved(&heads()));
        assert_eq!(read(&bytes).unwrap(), heads());
    }

    #[test]
    fn the_bytes_of_the_file_do_not_change() {
        let hash = crate::fingerprint::Fingerprint::of_bytes(&saved(&heads()));
        assert_eq!(hash.short(), "14961663be71");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let bytes = saved(&heads());
        refused(&bytes[..bytes.len() - 1], "safetensors");
        refused(&bytes[..5], "safetensors");
        refused(b"", "safetensors");
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        refused(b"PK\x03\x04 this is a zip file, not tensors", "safetensors");
    }

    #[test]
    fn a_file_without_tasks_is_refused() {
        refused(&TensorFile::default().to_bytes(), "which tasks");
    }

    #[test]
    fn a_missing_tensor_is_refused() {
        let text = String::from_utf8_lossy(&saved(&heads())).into_owned();
        assert!(text.contains("heads.z.bias"));
        let bytes = saved(&heads());
        let place = bytes.windows(12).position(|window| window == b"heads.z.bias").unwrap();
        let mut renamed = bytes;
        renamed[place + 6] = b'y';
        refused(&renamed, "missing");
    }

    #[test]
    fn labels_that_do_not_fit_the_weights_are_refused() {
        let bytes = saved(&heads());
        // Inside the header, where quotes are escaped, one label too few: `"b","c"` becomes `"b----c"`, of
        // the same length.
        let (old, new) = (br#"\"b\",\"c\""#, br#"\"b-----c\""#);
        let place = bytes.windows(old.len()).position(|window| window == old).unwrap();
        let mut changed = bytes;
        changed[place..place + old.len()].copy_from_slice(new);
        refused(&changed, "do not fit the labels");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        refused(&with(|head| head.weights[3] = f32::INFINITY), "finite");
    }

    #[test]
    fn a_temperature_that_is_not_above_zero_is_refused() {
        refused(&with(|head| head.believed.temperature = vec![0.0]), "above 0");
        refused(&with(|head| head.believed.temperature = vec![-1.0]), "above 0");
    }
}
