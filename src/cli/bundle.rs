//! Owns `frosthead bundle`: a run into one file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::depths::{depth_table, parse_points};
use super::given::{Given, Idle, group, names};
use super::options::RuntimeArguments;
use super::printing::{Columns, print, table};
use super::stores::StoreArguments;
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::bundle::{Bundle, UpdateRequest, Validation, Written, signature_path, write_update};
use frosthead::internal::classifier::{BundleOptions, Deployed, Run, bundle_run};
use frosthead::internal::document;
use frosthead::internal::embed::Embedder;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::files::{self, Scratch};
use frosthead::internal::precision::{
    Chosen, DepthChoice, PRECISION, PrecisionChoice, PrecisionReport, PrecisionRequest, RunRows, TaskCost,
    VariantReport, VocabularyChoice, VocabularyReport, choose,
};
use frosthead::internal::quantities::{error_text, with_error};
use frosthead::internal::quantize::{Calibration, Precision, TableBits, Variant};
use frosthead::internal::runtime::Runtime;

/// Put a run and its backbone into one file that needs nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead bundle runs/first --out first.frost
  frosthead bundle runs/first --out small.frost --precision auto --max-drop 0.5
  frosthead bundle runs/first --out small.frost --precision int8 --depth auto
  frosthead bundle runs/first --out small.frost --precision int8 --table-bits 4
  frosthead bundle runs/first --out first.frost --keep-validation
  frosthead bundle runs/second --update-of first.frost --out second.frostup
  frosthead bundle runs/first --out first.frost --sign ~/.minisign/minisign.key --overwrite")]
pub(crate) struct Arguments {
    /// The run directory.
    run: PathBuf,
    /// The bundle to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write an update instead of a bundle: `frosthead update` makes the new bundle of it and of OLD, which a
    /// device has already.
    #[arg(long, value_name = "OLD")]
    update_of: Option<PathBuf>,
    /// `fp32`, `w8` (8-bit weights), `int8` (8-bit arithmetic), or `auto`: the smallest that costs no task
    /// more than --max-drop, tried in this order: int8 with a 4-bit table, int8 (either also with a few
    /// products kept exact), w8, fp32.
    #[arg(long, value_name = "PRECISION", default_value = "fp32")]
    precision: PrecisionChoice,
    /// Run only the lowest N layers, or `auto`: the smallest depth that costs no task more than --max-drop.
    /// The heads' features are chosen again, and the heads fitted again; with --precision both are chosen
    /// together, the smallest first.
    #[arg(long, value_name = "N|auto")]
    depth: Option<DepthChoice>,
    /// Bits for each number of the word table, 8 or 4, unless the precision is fp32 [default: 8; `auto` tries
    /// 4 first].
    #[arg(long, value_name = "BITS")]
    table_bits: Option<TableBits>,
    /// Keep only some word pieces and their rows of the table: `used` (those of the run's training and
    /// validation texts) or FILE (one piece a line), and all single characters. Texts made of kept pieces
    /// give the same bits as before.
    #[arg(long, value_name = "used|FILE")]
    vocabulary: Option<String>,
    /// Keep only the N most frequent of these pieces in the run's texts (without --vocabulary: of those
    /// used).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Points of accuracy or macro-F1 that a task may lose by precision or depth, on rows its heads have not
    /// seen.
    #[arg(long, value_name = "POINTS", default_value_t = 0.3, value_parser = parse_points)]
    max_drop: f64,
    /// Keep the layers that no head sees, and with them the sentence embedding (for `/v1/embeddings`, and for
    /// other features in `refit`); otherwise the bundle ends at the highest layer that a head sees.
    #[arg(long)]
    keep_embedding: bool,
    /// Include the features and labels of the run's validation rows, not their texts: `refit` then reports
    /// how well a refitted head still does on them.
    #[arg(long)]
    keep_validation: bool,
    /// Sign the bundle with this minisign secret key; the signature goes into FILE.minisig.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Replace an existing --out.
    #[arg(long)]
    overwrite: bool,
    /// Where the backbone is now, if it was moved.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

impl Arguments {
    /// The word pieces that are asked for, if not all.
    fn vocabulary(&self) -> Option<VocabularyChoice> {
        let file = self.vocabulary.as_deref().filter(|what| *what != "used").map(PathBuf::from);
        let asked = self.vocabulary.is_some() || self.keep.is_some();
        asked.then(|| VocabularyChoice { file, most: self.keep.map(|most| most as usize) })
    }
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    refuse_idle(arguments, given)?;
    // Before anything is computed.
    let ranges = arguments.update_of.as_deref().map(|old| ranges_of(old, arguments, terminal)).transpose()?;
    let chooses = arguments.chooses();
    let runtime = arguments.runtime.load(terminal)?;
    let mut options = BundleOptions {
        backbone: arguments.backbone.clone(),
        sign: arguments.sign.clone(),
        overwrite: arguments.overwrite,
        keep_embedding: arguments.keep_embedding,
        ..BundleOptions::default()
    };
    // Its weights lie in a folder that must stay until the bundle is written.
    let mut chosen = None;
    if chooses || arguments.keep_validation {
        if let PrecisionChoice::Fixed(precision) = arguments.precision {
            // Before the texts are read; fp32 is for every device.
            let table = arguments.table_bits.unwrap_or_default();
            Variant { precision, table, ..Variant::default() }.check_device(runtime.device())?;
        }
        if arguments.keep_validation {
            refuse_words_alone(arguments)?;
        }
        let opened = Opened::new(arguments, given, &runtime, terminal)?;
        if chooses {
            let Some(found) = opened.choose(arguments, ranges.flatten(), &runtime, terminal)? else {
                return Ok(Outcome::CriterionMissed);
            };
            let (backbone, variant) = (Arc::clone(&found.backbone), found.variant.clone());
            options.deployed = Some(Deployed { backbone, variant });
            chosen = Some(found);
        }
        if arguments.keep_validation {
            options.validation = Some(opened.validation(chosen.as_ref(), terminal)?);
        }
        options.texts = opened.rows.into_texts();
    }
    let out = &arguments.out;
    let writing = terminal.working(format!("{}: being written", out.display()));
    let written = match &arguments.update_of {
        Some(old) => write_update_of(old, arguments, &options, &runtime)?,
        None => bundle_run(&arguments.run, out, &options, &runtime)?,
    };
    drop((chosen, writing));
    say_written(terminal, out, &written);
    if arguments.sign.is_some() {
        terminal.say(format!("{}: its signature", signature_path(out).display()));
    }
    Ok(Outcome::Done)
}

/// The ranges that the 8-bit steps of an old bundle come from: with the same ones, only what training changed
/// has other codes.
fn ranges_of(old: &Path, arguments: &Arguments, terminal: &Terminal) -> Result<Option<Calibration>> {
    let old = Bundle::open(old, None)?;
    let ranges = old.ranges()?.map(|bytes| Calibration::from_bytes(&bytes)).transpose();
    let ranges = ranges.map_err(|error| error.at(old.path()))?;
    let int8 = Precision::Int8.to_string();
    if ranges.is_none() && arguments.is_coded() && old.manifest().precision == int8 {
        terminal.warn(format!(
            "{}: it does not say which ranges its 8-bit steps come from (an older program made it): they are \
             measured anew, and the update is larger",
            old.path().display()
        ));
    }
    Ok(ranges)
}

/// Writes an update of an old bundle: the new one is made beside it for that.
fn write_update_of(
    old: &Path,
    arguments: &Arguments,
    options: &BundleOptions,
    runtime: &Runtime,
) -> Result<Written> {
    let out = &arguments.out;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = Scratch::new(folder, 0o700).map_err(|source| Error::io("write", out, source))?;
    let new = scratch.path().join("new.frost");
    let written = bundle_run(&arguments.run, &new, options, runtime)?;
    let (sign, overwrite) = (arguments.sign.as_ref(), arguments.overwrite);
    let up_to_date = write_update(out, &UpdateRequest { old, new: &new, sign, overwrite })?;
    Ok(Written { up_to_date, ..written })
}

/// Refuses to keep validation rows where heads see words alone: which words stood there is nothing to be kept,
/// and without a number of the network a row would not be recognised among new ones.
fn refuse_words_alone(arguments: &Arguments) -> Result<()> {
    let run = Run::open(&arguments.run)?;
    if run.heads.iter().any(|head| head.features > 0) {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, "validation rows are not kept where heads see words alone")
        .at(&arguments.run)
        .found("--keep-validation: nothing that may be kept would tell these rows from new ones")
        .help("leave --keep-validation away, or train with --features auto"))
}

impl Arguments {
    /// Whether the network is in less than fp32, or may be.
    fn is_coded(&self) -> bool {
        self.precision != PrecisionChoice::Fixed(Precision::Fp32)
    }

    /// Whether there are variants to try.
    fn chooses(&self) -> bool {
        self.is_coded() || self.depth.is_some() || self.vocabulary().is_some()
    }
}

/// Refuses options that have no effect on this call, or contradict each other.
fn refuse_idle(arguments: &Arguments, given: &Given) -> Result<()> {
    let (coded, chooses) = (arguments.is_coded(), arguments.chooses());
    given.refuse([
        Idle {
            when: !chooses,
            options: names(&["max-drop"]),
            why: "a bundle in fp32 loses nothing",
            instead: "say --precision auto",
        },
        Idle {
            when: !coded,
            options: names(&["table-bits"]),
            why: "a bundle in fp32 has all numbers as they are, and loses nothing",
            instead: "say --precision auto",
        },
        Idle {
            when: !chooses && !arguments.keep_validation,
            options: group::<StoreArguments>(),
            why: "no features are needed for a bundle in fp32",
            instead: "say --keep-validation or --precision auto",
        },
    ])?;
    if let (Some(depth), true) = (arguments.depth, arguments.keep_embedding) {
        return Err(Error::new(Kind::Usage, "the sentence embedding comes out of the last layer")
            .found(format!("--keep-embedding beside --depth {depth}"))
            .help("leave one of them away"));
    }
    Ok(())
}

/// What became of a bundle.
pub(super) fn say_written(terminal: &Terminal, out: &Path, written: &Written) {
    if let Some(why) = &written.not_compact {
        terminal.warn(format!(
            "{}: its large vocabulary is there as tokenizer.json only, which takes longer to read: {why}",
            out.display()
        ));
    }
    let size = std::fs::metadata(out).map_or(0, |file| file.len());
    let what = if written.up_to_date { "up to date" } else { "written" };
    terminal.say(format!("{}: {what} ({})", out.display(), bytes(size)));
}

/// A run with its backbone and rows.
struct Opened {
    run: Run,
    backbone: Arc<Backbone>,
    embedder: Embedder,
    rows: RunRows,
}

impl Opened {
    fn new(
        arguments: &Arguments,
        given: &Given,
        runtime: &Arc<Runtime>,
        terminal: &Terminal,
    ) -> Result<Self> {
        let run = Run::open(&arguments.run)?;
        let elsewhere = arguments.backbone.as_deref();
        let backbone = Arc::new(match arguments.depth {
            // A depth may need other states than the run's heads see.
            Some(_) => run.backbone(elsewhere)?,
            None => run.deployed_backbone(elsewhere, arguments.keep_embedding)?,
        });
        given.refuse([StoreArguments::idle([&*backbone])])?;
        let long = run.recipe.features.long;
        let (mut embedder, _) =
            arguments.store.open(Arc::clone(&backbone), Arc::clone(runtime), long, &[], terminal)?;
        let mut progress = terminal.progress(None);
        let rows = RunRows::read(&run, &mut embedder, &mut |state| progress.show(state))?;
        Ok(Self { run, backbone, embedder, rows })
    }

    /// Tries the variants and prints what they cost; none when no one passes.
    fn choose(
        &self,
        arguments: &Arguments,
        ranges: Option<Calibration>,
        runtime: &Runtime,
        terminal: &Terminal,
    ) -> Result<Option<Chosen>> {
        let request = PrecisionRequest {
            run: &self.run,
            backbone: &self.backbone,
            embedder: &self.embedder,
            runtime,
            rows: &self.rows,
            choice: arguments.precision,
            depth: arguments.depth,
            vocabulary: arguments.vocabulary(),
            table: arguments.table_bits,
            ranges,
            max_drop: arguments.max_drop,
            threads: runtime.threads(),
        };
        let heartbeat = terminal.heartbeat();
        let (report, chosen) = choose(&request, &mut |what| {
            terminal.detail(what);
            heartbeat.doing(what);
        })?;
        drop(heartbeat);
        report.left_out.iter().for_each(|what| terminal.warn(what));
        let path = self.run.directory.join(PRECISION);
        files::write(&path, document::pretty(&report).as_bytes())?;
        if !report.depths.is_empty() {
            print(&depth_table(&report.depths, "the run's own heads, in fp32"))?;
        }
        print(&described(&report))?;
        if let Some(vocabulary) = &report.vocabulary {
            print(&of_vocabulary(vocabulary, &report))?;
        }
        match &report.chosen {
            Some(name) => terminal.say(format!("chosen: {name}")),
            None => terminal.warn(format!(
                "no variant costs every task at most {} points: a larger --max-drop, or --precision fp32 without --depth",
                arguments.max_drop
            )),
        }
        Ok(chosen)
    }

    /// The validation rows, as the bundle's heads will see them.
    fn validation(&self, chosen: Option<&Chosen>, terminal: &Terminal) -> Result<Validation> {
        let validation = self.rows.validation(&self.run, chosen);
        if validation.rows() == 0 {
            return Err(Error::new(Kind::Usage, "the run has no validation rows to keep")
                .at(&self.run.directory)
                .found("--keep-validation")
                .help("train the run with --valid or --valid-fraction, and without --final"));
        }
        terminal.say(format!("features of {} validation rows are kept", grouped(validation.rows() as u64)));
        Ok(validation)
    }
}

/// One line per variant and task: what it costs, then what it gains.
fn described(report: &PrecisionReport) -> String {
    let headings = [
        "precision",
        "task",
        "accuracy lost",
        "F1 lost",
        "test accuracy",
        "flipped",
        "size",
        "texts/s",
        "ms/text",
        "cosine mean/min",
    ];
    let mut lines = vec![headings.map(str::to_owned)];
    for variant in &report.variants {
        lines.extend(variant.tasks.iter().map(|(task, cost)| line(variant, task, cost)));
    }
    let mut text = table(Columns::keyed(2), &lines) + &nothing_measured(report);
    text += "lost: points, on held-out folds of the training and validation rows; test accuracy: of the run, and of this variant; flipped: test rows\n";
    text
}

fn line(variant: &VariantReport, task: &str, cost: &TaskCost) -> [String; 10] {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let error = error_text(cost.loss.standard_error, 2).map(|error| format!(" ± {error:>5}"));
    [
        variant.name.clone(),
        task.to_owned(),
        format!("{:>5}{}", figure(cost.loss.accuracy_drop, 2), error.unwrap_or_default()),
        format!("{:>8}", figure(cost.loss.macro_f1_drop, 2)),
        format!("{} {}", figure(cost.test_accuracy_fp32, 4), figure(cost.test_accuracy, 4)),
        grouped(cost.flipped),
        bytes(variant.bytes),
        format!("{:.0}", variant.texts_per_second),
        format!("{:.1}", variant.latency),
        format!("{:.4} {:.4}", variant.cosine.mean, variant.cosine.smallest),
    ]
}

/// What a smaller vocabulary is like, and what it costs.
fn of_vocabulary(vocabulary: &VocabularyReport, report: &PrecisionReport) -> String {
    let VocabularyReport { pieces, of, held_out, coverage, use_now } = vocabulary;
    let mut text = format!(
        "vocabulary: {} of {} pieces; {:.1} % of {} {held_out} texts have the same pieces, and so the same numbers; of \
         all of them {:.2} pieces a word (before {:.2}), {:.3} % unknown\n",
        grouped(*pieces as u64),
        grouped(*of as u64),
        100.0 * coverage.same_share(),
        grouped(coverage.before.texts),
        coverage.after.pieces_per_word(),
        coverage.before.pieces_per_word(),
        100.0 * coverage.after.unknown_share(),
    );
    let mut told = BTreeSet::new();
    for variant in &report.variants {
        for (task, cost) in &variant.tasks {
            let Some(loss) = cost.vocabulary else { continue };
            let lost = loss.accuracy_drop.map(|lost| with_error(lost, loss.standard_error, 2));
            let depth = variant.depth.map_or_else(String::new, |depth| format!(" at depth {depth}"));
            let line = format!(
                "{task}{depth}: by its vocabulary it loses {} points on them\n",
                lost.unwrap_or_default()
            );
            if told.insert(line.clone()) {
                text += &line;
            }
        }
    }
    text + &format!(
        "the run's own texts: {:.2} pieces a word, {:.3} % unknown\n",
        use_now.pieces_per_word(),
        100.0 * use_now.unknown_share()
    )
}

/// Tasks of which a figure is missing, and why.
fn nothing_measured(report: &PrecisionReport) -> String {
    let mut text = String::new();
    for (task, cost) in report.variants.iter().take(1).flat_map(|variant| &variant.tasks) {
        if cost.loss.rows == 0 {
            text += &format!(
                "{task}: nothing to measure a loss on: every class has a single row; only fp32 passes\n"
            );
        }
        if cost.test_rows == 0 {
            text += &format!("{task}: nothing to measure: no test row has a label\n");
        }
    }
    text
}
