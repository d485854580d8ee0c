//! Owns fitting heads of a bundle further, or adding some, on new rows: bundle → bundle, on the device that
//! it runs on.
//!
//! Refuses to touch the backbone and the other heads, to let a head see what the bundle's graph does not
//! give, and to write a head that lost more than it may.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::Serialize;

use super::change::{HeadChange, change};
use super::event::{Show, TrainEvent};
use super::features::{Asked, settle_frozen};
use super::fits::{InitialHeads, fit_heads, out_of_fold};
use super::gathered::{Gathered, KeptRows};
use super::measured::{Features, calibrated_metrics};
use super::outcome::RunMetrics;
use super::request::{FeatureRequest, Learning, Output, RowsRequest, StatesRequest};
use super::rows::Table;
use super::task::same;
use crate::bundle::{Bundle, BundleRequest, Origin, SeenHead, Validation, Variant, Written, write_bundle};
use crate::classifier::probabilities;
use crate::data::Part;
use crate::dataset::vector_key;
use crate::embed::Embedder;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, TextKey};
use crate::heads::{
    self, Alpha, Examples, FitOptions, FitReport, Head, OutOfFold, Refined, WordLogits, WordsWanted,
};
use crate::task::Truth;

/// Which heads of a bundle to fit on what: one for each task of the rows; the others stay as they are.
pub struct RefitRequest<'r> {
    /// The bundle, opened.
    pub bundle: &'r Bundle,
    /// New rows, with labels of the tasks to be fitted.
    pub rows: &'r RowsRequest,
    /// Its features are those of added tasks, when there is a choice; the others see what they saw.
    pub learning: &'r Learning,
    /// Whether features were asked for.
    pub features: Option<FeatureRequest>,
    /// How strongly heads that are there already are drawn towards what they were; none chooses it by
    /// cross-validation.
    pub alpha: Option<Alpha>,
    /// The points of score that such a head may lose on the validation rows that the bundle carries: where it
    /// loses more, nothing is written.
    pub max_drift: Option<f64>,
    /// The new bundle.
    pub output: &'r Output,
    /// A minisign secret key to sign the new bundle with.
    pub sign: Option<PathBuf>,
}

/// The outcome of [`refit`].
#[derive(Debug)]
pub struct Refitted {
    /// None: a head lost more than it may.
    pub written: Option<Written>,
    pub report: RefitReport,
    pub fits: Vec<FitReport>,
}

/// What fitting heads anew came to.
#[derive(Debug, Serialize)]
pub struct RefitReport {
    /// Of the fitted heads, on the new rows.
    pub metrics: RunMetrics,
    /// Validation rows whose features the bundle carries; it carries them on.
    pub kept_rows: usize,
    /// Per fitted task, how many of these rows its head was fitted on beside the new ones.
    pub kept_fitted: BTreeMap<String, u64>,
    /// Per fitted task that these rows have labels of, the old head on them, and heads that were fitted in
    /// the same way as the new one, but each without the third of the rows that it is measured on.
    pub kept: BTreeMap<String, HeadChange>,
    /// Per fitted task that has such rows, both on the validation rows among the new rows.
    pub valid: BTreeMap<String, HeadChange>,
    /// Labels that a head knows and no row that it was fitted on has: it keeps what it knew of them.
    pub without_rows: BTreeMap<String, Vec<String>>,
    /// Hash of the backbone in the old bundle …
    pub backbone_before: Fingerprint,
    /// … and in the new one, as it was read there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_after: Option<Fingerprint>,
}

/// Fits heads on the features of the bundle's own backbone, which `embedder` has, and writes the bundle with
/// them. A head that is there already begins where it is, is drawn towards that, and is fitted on the rows
/// that the bundle keeps beside the new ones.
///
/// # Errors
/// The rows are malformed or cannot be fitted, a head would see what the bundle does not give, or the bundle
/// cannot be written.
pub fn refit(request: &RefitRequest<'_>, embedder: &mut Embedder, show: &mut Show<'_>) -> Result<Refitted> {
    let RefitRequest { bundle, rows, learning, .. } = *request;
    check_kinds(bundle, rows)?;
    let asked = asked(request)?;
    let mut validation = bundle.validation()?;
    look_at_words(request, embedder)?;
    let mut table = Table::read(rows, false, &|task| old(bundle, task).is_some(), Some(embedder), show)?;
    if let Some(validation) = &validation {
        keep_out(&mut table, validation, bundle, embedder)?;
        table.settle_labels()?;
    }
    for task in &mut table.tasks {
        if let Some(old) = old(bundle, &task.name) {
            task.know(&old.labels);
        }
    }
    settle_frozen(learning, &|task| asked[task], &mut table, embedder, show)?;
    let _uninterrupted = show(&TrainEvent::Work("fitting the heads, and measuring them"));
    let Fitted { mut heads, fits, held_out, kept, kept_words, without_rows } =
        fit(request, &table, validation.as_ref())?;
    let features = Features { stored: &table.rows, trained: None };
    let metrics = calibrated_metrics(&table, features, &mut heads, (&held_out, learning.fit.promise));
    let kept_fitted = kept.iter().map(|(task, kept)| (task.clone(), kept.rows.len() as u64)).collect();
    let of_kept = |head: &Head| {
        let (kept, held_out) = (kept.get(&head.task)?, held_out.get(&head.task)?);
        let change = on_kept(kept, validation.as_ref()?, (old(bundle, &head.task)?, head), &held_out.logits);
        Some((head.task.clone(), change?))
    };
    let kept = heads.iter().filter_map(of_kept).collect();
    for (task, words) in kept_words {
        validation.iter_mut().for_each(|validation| validation.put_words(&task, words.clone()));
    }
    let valid = on_new(&table, bundle, &heads);
    let mut report = RefitReport {
        metrics,
        kept_rows: validation.as_ref().map_or(0, Validation::rows),
        kept_fitted,
        kept,
        valid,
        without_rows,
        backbone_before: bundle.backbone_fingerprint()?,
        backbone_after: None,
    };
    if request.max_drift.is_some_and(|most| report.lost() > most) {
        return Ok(Refitted { written: None, report, fits });
    }
    let seen = heads.into_iter().map(|head| {
        let sees = table.task(&head).choice();
        SeenHead { head, sees }
    });
    let written = write(request, seen.collect(), &fits, validation.as_ref(), embedder)?;
    report.backbone_after = Some(Bundle::open(&request.output.path, None)?.backbone_fingerprint()?);
    Ok(Refitted { written: Some(written), report, fits })
}

impl RefitReport {
    /// The most points of score that a head lost on the rows that the bundle carries.
    #[must_use]
    pub fn lost(&self) -> f64 {
        let lost =
            |kept: &HeadChange| kept.all.before.map_or(0.0, |before| 100.0 * (before - kept.all.after));
        self.kept.values().map(lost).fold(0.0, f64::max)
    }
}

/// The fitted heads, and what the rows that the bundle carries say of them.
#[derive(Default)]
struct Fitted {
    heads: Vec<Head>,
    fits: Vec<FitReport>,
    /// Of the rows that each was fitted on, what heads say that were fitted without them.
    held_out: BTreeMap<String, OutOfFold>,
    /// Of those of a head that was there already, which the bundle keeps.
    kept: BTreeMap<String, KeptRows>,
    /// What the words of the heads say of the rows that the bundle carries.
    kept_words: BTreeMap<String, WordLogits>,
    without_rows: BTreeMap<String, Vec<String>>,
}

/// Fits the heads of the table's tasks, in their order.
fn fit(request: &RefitRequest<'_>, table: &Table, validation: Option<&Validation>) -> Result<Fitted> {
    let (learning, mut fitted) = (request.learning, Fitted::default());
    for task in &table.tasks {
        let Some(old) = old(request.bundle, &task.name) else {
            let InitialHeads { heads, fits } = fit_heads(learning, table, &[task])?;
            fitted.heads.extend(heads);
            fitted.held_out.extend(out_of_fold(learning, table, &fits)?);
            fitted.fits.extend(fits);
            continue;
        };
        let old = &renamed(old, task.labels.names());
        let begun = heads::begun(old, task.answers());
        let rows = Gathered::new(task, table, validation, (old, &begun));
        let places: Vec<usize> = (0..rows.targets.len()).collect();
        let examples = Examples { features: rows.view(), rows: &places, targets: &rows.targets };
        let options = FitOptions { alpha: request.alpha.unwrap_or(Alpha::Auto), ..learning.fit.clone() };
        let Refined { head, report, held_out } = heads::refine(&begun, &examples, &options)?;
        let has_rows = |label: u32| rows.targets.iter().any(|target| target.labels().contains(&label));
        let names = task.labels.names();
        let without = names.iter().filter(|name| !task.labels.index(name).is_some_and(has_rows));
        let without: Vec<String> = without.cloned().collect();
        if !without.is_empty() && task.kind.has_labels() {
            fitted.without_rows.insert(task.name.clone(), without);
        }
        let texts = places.iter().map(|&place| rows.view().text(place)).collect();
        fitted.kept_words.extend(rows.kept_words.map(|words| (task.name.clone(), words)));
        let held_out = OutOfFold { targets: rows.targets, texts, logits: held_out, begun: true };
        fitted.held_out.insert(task.name.clone(), held_out);
        fitted.fits.push(FitReport { rows: rows.kept.new as u64, ..report });
        fitted.kept.insert(task.name.clone(), rows.kept);
        fitted.heads.push(head);
    }
    Ok(fitted)
}

/// The head with the names of today: older ones may call `1.0` what is `1` now.
fn renamed(old: &Head, labels: &[String]) -> Head {
    let today = |label: &String| labels.iter().find(|name| same(name, label)).unwrap_or(label).clone();
    Head { labels: old.labels.iter().map(today).collect(), ..old.clone() }
}

/// The old head on the rows that the bundle keeps, and heads that did not see them, which answer as the new
/// one does, calibrated.
fn on_kept(
    kept: &KeptRows,
    validation: &Validation,
    (old, new): (&Head, &Head),
    held_out: &[f32],
) -> Option<HeadChange> {
    let side = validation.task(&new.task)?;
    let old = &renamed(old, &new.labels);
    let truth = Truth::of_places(&side.truth);
    let classes = new.labels.len();
    // A row whose label no head knows is wrong, whatever is said of it.
    let mut after = vec![0.0; truth.rows.len() * classes];
    for (&row, out) in truth.rows.iter().zip(after.chunks_exact_mut(classes)) {
        if let Some(place) = kept.place(row) {
            let place = place * classes;
            out.copy_from_slice(&held_out[place..place + classes]);
            new.calibrated(out);
        }
    }
    let before = probabilities(old, validation.view(side), &truth.rows);
    let names = &side.labels;
    (!truth.rows.is_empty()).then(|| change((names, &truth), Some((old, &before)), (new, &after)))
}

/// What the head of a new task sees where nothing was asked for: the sentence embedding, or what stands for
/// it.
fn usual_features(bundle: &Bundle) -> FeatureChoice {
    let manifest = bundle.manifest();
    match manifest.backbone.layers() {
        Some(layers) if !manifest.has_embedding() => FeatureChoice::highest(layers),
        _ => FeatureChoice::Last,
    }
}

/// Refuses a task whose head is there already, and answers something else than these rows tell.
fn check_kinds(bundle: &Bundle, rows: &RowsRequest) -> Result<()> {
    for task in rows.tasks.iter() {
        let Some(old) = old(bundle, &task.name).filter(|old| old.kind != task.kind) else { continue };
        return Err(Error::new(Kind::Usage, "the bundle's head of this task is of another kind")
            .at(bundle.path())
            .task(&task.name)
            .found(task.kind.name())
            .expected(old.kind.name()));
    }
    Ok(())
}

/// What each task's head shall see: a head that is there already sees what it saw.
fn asked(request: &RefitRequest<'_>) -> Result<BTreeMap<String, Asked>> {
    let RefitRequest { bundle, rows, features, .. } = request;
    let of = |task: String| {
        let known = bundle.manifest().tasks.iter().find(|known| known.task == task);
        let given = features.unwrap_or_else(|| FeatureRequest::of(usual_features(bundle)));
        let asked = known.map_or(given, |known| FeatureRequest::of(known.features));
        let wrong = |what: &str| {
            Error::new(Kind::Usage, what).at(bundle.path()).task(&task).found(format!("--features {given}"))
        };
        if features.is_some() && asked != given {
            return Err(wrong("a head that is fitted further sees what it saw")
                .expected(asked.to_string())
                .help(
                    "leave --features away, or add the tasks it is meant for with a command of their own",
                ));
        }
        if matches!(asked.states, StatesRequest::Choice(choice) if choice != FeatureChoice::Last)
            && bundle.stored() == FeatureChoice::Last
        {
            return Err(wrong("the bundle's graph gives the embedding only, not the states of layers")
                .expected("--features last")
                .help("a bundle gives the states of layers when the run it was made of had a head that sees them"));
        }
        let asked = known.map_or(Asked::Learned(asked.states), |known| Asked::Given(known.features));
        Ok((task, asked))
    };
    rows.tasks.names().into_iter().map(of).collect()
}

/// Keeps the validation rows that the bundle carries out of the new rows, as far as they are recognised: by
/// the bits of their features. They are fitted on, once, and measure nothing.
fn keep_out(table: &mut Table, validation: &Validation, bundle: &Bundle, embedder: &Embedder) -> Result<()> {
    if table.tasks.iter().all(|task| validation.task(&task.name).is_none()) {
        return Ok(());
    }
    // Of a task whose head sees the network: a row is known by that.
    let known = validation.tasks().iter().find(|task| !task.columns.is_empty());
    let seen = known.and_then(|known| bundle.manifest().tasks.iter().find(|task| task.task == known.task));
    let (Some(known), Some(seen)) = (known, seen) else { return Ok(()) };
    let carried = validation.view(known);
    let carried: HashSet<TextKey> = (0..validation.rows()).map(|row| vector_key(carried.row(row))).collect();
    let columns = embedder.columns(seen.features)?;
    table.rows.load(embedder, columns.clone())?;
    let features = table.rows.view(&columns);
    for (row, part) in table.parts.iter_mut().enumerate() {
        if part.is_some() && carried.contains(&vector_key(features.row(row))) {
            *part = None;
        }
    }
    Ok(())
}

/// Makes the embedder keep what stands in texts, at the places that the bundle's heads know.
fn look_at_words(request: &RefitRequest<'_>, embedder: &mut Embedder) -> Result<()> {
    let grams = request.bundle.heads().iter().find_map(|head| Some(head.words.as_ref()?.grams.clone()));
    let wanted = request.learning.fit.words.wanted != WordsWanted::No;
    match grams.or_else(|| wanted.then(|| embedder.own_grams())) {
        Some(grams) => embedder.look_at_words(grams),
        None => Ok(()),
    }
}

/// Old and new heads on the validation rows among the new rows.
fn on_new(table: &Table, bundle: &Bundle, heads: &[Head]) -> BTreeMap<String, HeadChange> {
    let mut changes = BTreeMap::new();
    for head in heads {
        let task = table.task(head);
        let truth = task.truth(&table.parts, Part::Valid);
        if !truth.rows.is_empty() {
            let features = table.rows.view(&task.sees.columns);
            let answers = |head: &Head| probabilities(head, features, &truth.rows);
            let old = old(bundle, &head.task).map(|old| (old, answers(old)));
            let before = old.as_ref().map(|(old, answers)| (*old, &answers[..]));
            let change = change((&head.labels, &truth), before, (head, &answers(head)));
            changes.insert(head.task.clone(), change);
        }
    }
    changes
}

fn old<'b>(bundle: &'b Bundle, task: &str) -> Option<&'b Head> {
    bundle.heads().iter().find(|old| old.task == task)
}

/// Writes the bundle with the fitted heads in the place of the old ones, and added ones behind them.
fn write(
    request: &RefitRequest<'_>,
    fitted: Vec<SeenHead>,
    fits: &[FitReport],
    validation: Option<&Validation>,
    embedder: &Embedder,
) -> Result<Written> {
    let RefitRequest { bundle, output, sign, .. } = request;
    let mut heads = bundle.seen_heads();
    for new in fitted {
        match heads.iter_mut().find(|old| old.head.task == new.head.task) {
            Some(old) => *old = new,
            None => heads.push(new),
        }
    }
    let tasks = fits.iter().map(|fit| (fit.task.clone(), fit.rows)).collect();
    let new = BundleRequest {
        backbone: embedder.backbone(),
        variant: Variant::of_bundle(bundle, heads)?,
        long: bundle.long(),
        text: bundle.manifest().text_columns(),
        texts: &[],
        validation,
        origin: Some(&Origin { bundle, tasks }),
        sign: sign.clone(),
        overwrite: output.overwrite,
    };
    write_bundle(&output.path, &new, embedder.runtime())
}
