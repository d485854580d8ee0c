//! Owns `frosthead inspect`: a backbone, a run or a bundle in one screen.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use super::printing::{first_of, named, print_result};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::backbone::{Manifest, PartOf, Preparation};
use frosthead::internal::bundle::{Kept, PublicKey};
use frosthead::internal::classifier::run::Recipe;
use frosthead::internal::data::TextColumns;
use frosthead::internal::encoder::Config;
use frosthead::internal::error::{Error, Kind, Result, quoted};
use frosthead::internal::inspect::{BundleDescription, Description, HeadDescription, describe};
use frosthead::internal::metrics::Interval;
use frosthead::internal::quantities::{self, counted, fixed};
use frosthead::internal::task::TaskKind;

/// Labels of a task that are named; --json has all.
const LABELS: usize = 30;

/// Show what a backbone, a run or a bundle is.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frosthead inspect models/all-MiniLM-L6-v2
  frosthead inspect runs/quickstart --json
  frosthead inspect x.frost --privacy")]
pub(crate) struct Arguments {
    /// A backbone or run directory, or a bundle.
    path: PathBuf,
    /// List every file in a bundle and what it says of your data.
    #[arg(long)]
    privacy: bool,
    /// Refuse a bundle that is not signed with this minisign public key (RW…, or its .pub file).
    #[arg(long, value_name = "PUBKEY")]
    trust: Option<PublicKey>,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, _: &Terminal) -> Result<Outcome> {
    let description = describe(&arguments.path, arguments.trust.as_ref())?;
    if arguments.privacy {
        return privacy(arguments, &description);
    }
    print_result(arguments.json, &description, || named(12, &lines(&description)))?;
    Ok(Outcome::Done)
}

/// What a bundle keeps of anything.
fn privacy(arguments: &Arguments, description: &Description) -> Result<Outcome> {
    let Description::Bundle(bundle) = description else {
        return Err(Error::new(Kind::Usage, "--privacy lists what a bundle keeps")
            .at(&arguments.path)
            .found("a directory")
            .help("bundle the run first"));
    };
    print_result(arguments.json, &bundle.kept, || kept(bundle))?;
    Ok(Outcome::Done)
}

/// A line for each entry, and what all of them say of the data.
fn kept(bundle: &BundleDescription) -> String {
    let entry = |kept: &Kept| format!("{:<22}  {:>12}  {}\n", kept.name, bytes(kept.bytes), kept.what);
    let mut text: String = bundle.kept.iter().map(entry).collect();
    let mut rows = "no row and no feature of the data";
    if bundle.validation_rows > 0 {
        rows = "nothing of the training rows";
        text += &format!(
            "Of {} validation rows it holds the labels and what the heads see of the texts (and what their words say): numbers, from which something of these \
             texts can be guessed. `frosthead bundle` without --keep-validation leaves them out.\n",
            grouped(bundle.validation_rows as u64)
        );
    }
    if bundle.heads.iter().any(|head| head.words.is_some()) {
        text += "Its heads have weights for pieces of words and for pairs of them that stood in at least so many different training \
                 texts as was asked for (--words-at-least, 2 if nothing was said): `frosthead inspect` without --privacy shows the \
                 strongest. Pairs are kept by a hash of 16 bits. Where a single word must not be known, train without words.\n";
    }
    text + &format!(
        "Nothing else. No text, no hash of a text and {rows} is in it; what training learned from them is in the weights and in the \
         names of the labels.\n"
    )
}

fn lines(description: &Description) -> Vec<(&'static str, String)> {
    match description {
        Description::Backbone { fingerprint, bytes: size, manifest } => {
            let mut lines = of_backbone(manifest, None);
            lines.push(("size", bytes(*size)));
            lines.push(("fingerprint", fingerprint.clone()));
            lines
        }
        Description::Bundle(bundle) => of_bundle(bundle),
        Description::Run { recipe, heads } => of_run(recipe, heads),
    }
}

fn of_bundle(bundle: &BundleDescription) -> Vec<(&'static str, String)> {
    let manifest = &bundle.manifest;
    let signature = match (bundle.trusted, bundle.signature) {
        (true, _) => "by the trusted key",
        (false, true) => "there is one; --trust PUBKEY checks it",
        (false, false) => "none",
    };
    let mut lines = vec![
        (
            "bundle",
            format!(
                "format {}, {}, frosthead {}",
                manifest.format,
                manifest.full_precision(),
                manifest.frosthead
            ),
        ),
        ("size", bytes(bundle.bytes)),
        ("fingerprint", bundle.fingerprint.clone()),
        ("signature", signature.to_owned()),
    ];
    lines.extend(of_backbone(&manifest.backbone, manifest.part_of));
    if let Some(changed) = manifest.changed {
        lines.push(("trained", format!("layers of the backbone ({})", changed.short())));
    }
    let compact = |kept: &&Kept| kept.name == "tokenizer.safetensors";
    if let Some(kept) = bundle.kept.iter().find(compact) {
        lines.push((
            "tokenizer",
            format!("read from its compact form, {} ({})", kept.name, bytes(kept.bytes)),
        ));
    }
    lines.extend(of_pairs(manifest.text_columns()));
    lines.push(("long texts", manifest.long.to_string()));
    if let Some(used) = manifest.piece_use() {
        lines.push(("words", format!("{used}, of {} when it was built", counted(used.texts, "text"))));
    }
    lines.extend(manifest.refits.iter().map(|refit| {
        let tasks = refit.tasks.iter().map(|(task, rows)| format!("{task} on {}", counted(*rows, "row")));
        ("fitted anew", format!("{} (from {})", tasks.collect::<Vec<_>>().join(", "), refit.from.short()))
    }));
    if bundle.validation_rows > 0 {
        lines.push(("validation", format!("features of {}", counted(bundle.validation_rows as u64, "row"))));
    }
    let heads = bundle.heads.iter().zip(&manifest.tasks).zip(&bundle.calibration);
    lines.extend(heads.map(|((head, task), calibration)| {
        let (answers, width) = (answers(head), grouped(head.features as u64));
        let words = with_words(head);
        let temperature = match calibration.temperature[..] {
            [_] if !head.kind.has_labels() => String::new(),
            [temperature] => format!(", temperature {temperature}"),
            _ => ", a temperature for each".to_owned(),
        };
        let seen = format!("{width} numbers of `{}{words}`{temperature}", task.features);
        ("task", format!("{}: {answers} ({seen})", head.task))
    }));
    lines.extend(bundle.heads.iter().flat_map(of_words));
    lines
}

fn of_backbone(manifest: &Manifest, part_of: Option<PartOf>) -> Vec<(&'static str, String)> {
    let preparation = &manifest.preparation;
    let network = match manifest.encoder() {
        Some(config) => {
            let less = part_of.map(|whole| left_away(whole, config)).unwrap_or_default();
            format!("{}: {config}{less}", manifest.family().unwrap_or_default())
        }
        None => {
            let output = manifest.source.output.as_ref().map(|name| format!(", its output {name:?}"));
            format!("a foreign ONNX graph{} (one cut: after pooling)", output.unwrap_or_default())
        }
    };
    let normalised = if preparation.normalize { ", normalised" } else { "" };
    let pooled = pooling(preparation);
    let embedding = match part_of.filter(|whole| manifest.layers() != Some(whole.layers)) {
        None => format!("{} numbers, {pooled}{normalised}", manifest.embedding_size()),
        Some(_) => "none: layers that no head sees were left out (bundle with --keep-embedding to have it)"
            .to_owned(),
    };
    vec![
        ("backbone", manifest.name.clone()),
        ("network", network),
        ("embedding", embedding),
        ("texts", format!("at most {} tokens, prefix {:?}", preparation.max_length, preparation.prefix)),
        ("source", manifest.source.origin.clone()),
        ("licence", manifest.source.licence.clone().unwrap_or_else(|| "unknown".to_owned())),
    ]
}

/// What was left away of the whole.
fn left_away(whole: PartOf, part: &Config) -> String {
    let layers = (whole.layers > part.layers).then(|| format!(", the lower part of {} layers", whole.layers));
    let words = (whole.vocabulary_size > part.vocabulary_size)
        .then(|| format!(", of {} words", grouped(whole.vocabulary_size as u64)));
    [layers, words].into_iter().flatten().collect()
}

/// How token states become one vector, for people.
pub(super) fn pooling(preparation: &Preparation) -> String {
    let ours = preparation.pooling.map(|pooling| format!("{pooling} pooling"));
    ours.unwrap_or_else(|| "pooled by the graph itself".to_owned())
}

fn of_run(recipe: &Recipe, heads: &[HeadDescription]) -> Vec<(&'static str, String)> {
    let backbone = recipe.backbone.as_ref().map_or_else(
        || "unknown: trained on features made elsewhere".to_owned(),
        |backbone| {
            let depth = backbone.depth.map(|depth| format!(", depth {depth}"));
            format!("{} ({}){}", backbone.name, backbone.fingerprint.short(), depth.unwrap_or_default())
        },
    );
    let split = &recipe.split;
    let shares =
        format!("test {}, validation {}, seed {}", split.test_fraction, split.valid_fraction, recipe.seed);
    let mut lines = vec![
        ("run of", format!("{} (frosthead {})", recipe.data.table.path, recipe.frosthead)),
        ("backbone", backbone),
        ("features", recipe.features.asked.clone()),
        ("split", shares),
        ("heads", format!("alpha {}, class weight {}", recipe.heads.alpha, recipe.heads.class_weight)),
    ];
    lines.extend(recipe.training.iter().map(|training| ("frozen", training.frozen.clone())));
    lines.extend(of_pairs(recipe.data.text_columns()));
    for head in heads {
        let parameters = grouped(head.parameters as u64);
        let features = recipe.features.tasks.get(&head.task).and_then(|features| features.choice);
        let seen = features.map_or_else(|| "column".to_owned(), |choice| choice.to_string());
        let (task, answers, width) = (&head.task, answers(head), grouped(head.features as u64));
        let words = with_words(head);
        let line =
            format!("{task}: {answers} ({parameters} parameters on {width} numbers of `{seen}{words}`)");
        lines.push(("task", line));
    }
    lines.extend(heads.iter().flat_map(of_words));
    lines
}

/// That pairs are read, and from which columns.
fn of_pairs(columns: Option<TextColumns>) -> Option<(&'static str, String)> {
    let columns = columns.filter(TextColumns::are_pairs)?;
    let names: Vec<String> = columns.names().map(quoted).collect();
    Some(("reads", format!("pairs of texts, from the columns {}", names.join(" and "))))
}

/// What a head answers: its labels, with the probability from which on each is answered where that is known,
/// or a number.
fn answers(head: &HeadDescription) -> String {
    let threshold = |least: &f32| match least {
        least if *least > 1.0 => " (never)".to_owned(),
        least => format!(" (from {least:.3} on)"),
    };
    let label = |(place, label): (usize, &String)| {
        format!("{label}{}", head.thresholds.get(place).map(threshold).unwrap_or_default())
    };
    let labels: Vec<String> = head.labels.iter().enumerate().map(label).collect();
    let labels = first_of(&labels, LABELS, Clone::clone);
    match (head.kind, head.interval) {
        (TaskKind::OneOf, _) => labels,
        (TaskKind::AnyOf, _) => format!("any of {labels}"),
        (TaskKind::Number, None) => "a number".to_owned(),
        (TaskKind::Number, Some(Interval { level, width, .. })) => {
            format!(
                "a number, off by no more than {} in {}",
                fixed(f64::from(width), 4),
                quantities::level(f64::from(level))
            )
        }
    }
}

/// What stands behind the features of a head that looks at words.
fn with_words(head: &HeadDescription) -> &'static str {
    if head.words.is_some() { "+words" } else { "" }
}

/// How many words a head has weights for, and which speak for each label most.
fn of_words(head: &HeadDescription) -> Vec<(&'static str, String)> {
    let Some(words) = &head.words else { return Vec::new() };
    let (pieces, pairs) = (grouped(words.pieces as u64), grouped(words.pairs as u64));
    let count = format!("{}: weights for {pieces} pieces and {pairs} places of pairs", head.task);
    let strongest = words.strongest.iter().filter(|(_, pieces)| !pieces.is_empty()).map(|(label, pieces)| {
        let named: Vec<String> = pieces.iter().map(|(piece, above)| format!("{piece} {above:+.1}")).collect();
        ("for", format!("{}: {label}: {}", head.task, named.join(", ")))
    });
    std::iter::once(("words of", count)).chain(strongest).collect()
}
