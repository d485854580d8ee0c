//! Owns the search for the fastest setting: along one axis after the other (threads, tokens in a batch,
//! buckets), each step a race whose slow half drops out after a short round, and a last round of the winner
//! against the default.
//!
//! Refuses to compare what was not measured in turns with the default, and to leave the default for what may
//! be noise.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::gain::Gain;
use super::{Setting, untuned};
use crate::error::{Error, Kind, Result};
use crate::runtime::{Device, Load, Runtime, allowed_cores};
use crate::tokens::Spacing;

/// Counted turns of a short round, over one sample …
const SHORT_TURNS: usize = 2;
/// … of a long one, over all of them …
const LONG_TURNS: usize = 5;
/// … of a long one among the best of a sweep …
const SWEEP_TURNS: usize = 5;
/// … and of the last one.
const LAST_TURNS: usize = 9;
/// Who is slower than the fastest by that share in a short round is out, however few are left.
const LOST: f64 = 0.15;
/// A step is taken only when it gains that share.
const WORTH_A_STEP: f64 = 0.01;
/// The default is left only for a gain of that share …
const WORTH_KEEPING: f64 = 0.02;
/// … and of so many standard errors.
const BEYOND_NOISE: f64 = 2.5;
/// The best of a sweep, that meet again.
const FINALISTS: usize = 4;

/// Takes the time of settings.
pub trait Stopwatch {
    /// Seconds of one pass over the first `samples` samples with a setting.
    ///
    /// # Errors
    /// The network cannot be loaded or run.
    fn seconds(&mut self, setting: Setting, samples: usize) -> Result<f64>;
    /// Texts in the first `samples` samples.
    fn texts(&self, samples: usize) -> usize;
    /// Seconds that were spent so far.
    fn spent(&self) -> f64;
    /// For now, only these numbers of threads are asked for.
    fn keep_only(&mut self, threads: &[usize]);
}

/// The settings that may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// What is used without tuning.
    pub default: Setting,
    pub threads: Vec<usize>,
    pub token_budgets: Vec<usize>,
    pub buckets: Vec<Spacing>,
}

/// How much may be measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Samples in a long round.
    pub samples: usize,
    /// Once half of these seconds are spent, no second look is taken at any axis.
    pub seconds: f64,
    /// Measure the whole grid as well.
    pub full_sweep: bool,
}

impl Gain {
    /// Of one setting against another, from the seconds of passes in turns.
    fn of(one: &[f64], other: &[f64]) -> Self {
        let logarithms: Vec<f64> = one.iter().zip(other).map(|(one, other)| (other / one).ln()).collect();
        let pairs = logarithms.len();
        let mean = logarithms.iter().sum::<f64>() / to_f64(pairs);
        let squares: f64 = logarithms.iter().map(|logarithm| (logarithm - mean).powi(2)).sum();
        let error = (squares / to_f64(pairs.saturating_sub(1).max(1)) / to_f64(pairs)).sqrt();
        Self { ratio: mean.exp(), standard_error: mean.exp() * error, pairs }
    }

    /// Whether it is worth leaving the default for, and not noise.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        self.ratio >= 1.0 + WORTH_KEEPING && self.ratio - 1.0 > BEYOND_NOISE * self.standard_error
    }
}

/// A setting that was tried, as the last round it took part in found it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    pub setting: Setting,
    /// The default's rate in its last round, times `speed`: rounds lie apart in time, and a machine that is
    /// faster in one of them must not make a setting look faster than another.
    pub texts_per_second: f64,
    /// How many times as fast as the default in the same turns: the geometric mean, as [`Gain::ratio`] is.
    pub speed: f64,
    /// Counted passes, and texts in each.
    pub passes: usize,
    pub texts: usize,
}

/// What measuring the whole grid found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    pub settings: usize,
    pub best: Setting,
    /// The search's pick against it; none when they are the same.
    pub pick_against_best: Option<Gain>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Search {
    pub default: Setting,
    /// What was tried: what was measured longest comes first, and of that the fastest.
    pub trials: Vec<Trial>,
    /// What the search came to.
    pub pick: Setting,
    pub sweep: Option<Sweep>,
    /// What is to be kept: the default unless another setting is faster beyond noise.
    pub kept: Setting,
    /// The faster of the search's pick and the sweep's best against the default; none when that is the
    /// default.
    pub gain: Option<Gain>,
    pub seconds: f64,
}

/// Refuses a GPU: before a runtime is loaded for nothing.
///
/// # Errors
/// The device is one.
pub fn check_device(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Cuda(_) => Err(Error::new(Kind::Usage, "settings are tuned for processors only")
            .found(format!("--device {device}"))
            .help("time some yourself: `frosthead bench embed DATA --device cuda --token-budget N`")),
    }
}

impl Grid {
    /// For this machine: from all cores to a quarter of them (just as many as were asked for, if they were),
    /// and batches around the default.
    ///
    /// # Errors
    /// The network runs on a GPU, where no setting was ever measured, or more threads were asked for than there
    /// are cores.
    pub fn of(runtime: &Runtime) -> Result<Self> {
        check_device(runtime.device())?;
        let (threads, cores) = (runtime.threads(), allowed_cores());
        if threads > cores {
            return Err(Error::new(Kind::Usage, "there are fewer cores than threads to tune")
                .found(format!("--threads {threads}"))
                .expected(format!("at most {cores}")));
        }
        Ok(Self {
            default: Setting::new(threads, untuned(runtime.device(), Load::Many)),
            threads: if runtime.threads_given() { vec![threads] } else { shares(cores) },
            token_budgets: vec![128, 256, 512, 1024, 2048],
            buckets: vec![Spacing::Coarse, Spacing::Standard, Spacing::Fine],
        })
    }

    /// All settings.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        for &threads in &self.threads {
            for &token_budget in &self.token_budgets {
                all.extend(self.buckets.iter().map(|&buckets| Setting { threads, token_budget, buckets }));
            }
        }
        all
    }

    /// The settings that differ from one in nothing but this.
    fn along(&self, axis: Axis, from: Setting) -> Vec<Setting> {
        match axis {
            Axis::Threads => self.threads.iter().map(|&threads| Setting { threads, ..from }).collect(),
            Axis::TokenBudget => {
                self.token_budgets.iter().map(|&token_budget| Setting { token_budget, ..from }).collect()
            }
            Axis::Buckets => self.buckets.iter().map(|&buckets| Setting { buckets, ..from }).collect(),
        }
    }
}

/// All cores, three quarters, a half and a quarter of them.
fn shares(cores: usize) -> Vec<usize> {
    let mut shares: Vec<usize> = (1..=4).map(|quarters| (cores * quarters / 4).max(1)).collect();
    shares.dedup();
    shares
}

/// What a step moves along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Threads,
    TokenBudget,
    Buckets,
}

impl Axis {
    const ALL: [Self; 3] = [Self::Threads, Self::TokenBudget, Self::Buckets];

    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::TokenBudget => "tokens a batch",
            Self::Buckets => "buckets",
        }
    }
}

/// Searches a grid.
///
/// # Errors
/// The stopwatch fails.
pub fn search(
    grid: &Grid,
    plan: Plan,
    stopwatch: &mut dyn Stopwatch,
    show: &mut dyn FnMut(&str),
) -> Result<Search> {
    let mut race = Race { grid, plan, stopwatch, warm: BTreeSet::new(), timed: BTreeMap::new() };
    let pick = race.descend(show)?;
    let best = match plan.full_sweep {
        true => Some(race.sweep(pick, show)?),
        false => None,
    };
    show("the last round");
    let contestants: Vec<Setting> = std::iter::once(pick).chain(best).collect();
    race.round(&contestants, LAST_TURNS, plan.samples)?;
    let fastest = match best {
        Some(best) if race.gain(best, pick).ratio > 1.0 => best,
        _ => pick,
    };
    let gain = (fastest != grid.default).then(|| race.gain(fastest, grid.default));
    let sweep = best.map(|best| Sweep {
        settings: grid.settings().len(),
        best,
        pick_against_best: (best != pick).then(|| race.gain(pick, best)),
    });
    Ok(Search {
        default: grid.default,
        trials: race.trials(),
        pick,
        sweep,
        kept: if gain.is_some_and(|gain| gain.is_worth_keeping()) { fastest } else { grid.default },
        gain,
        seconds: race.stopwatch.spent(),
    })
}

/// What the last round with a setting found.
struct Timed {
    /// Of each counted pass.
    seconds: Vec<f64>,
    /// How many times as fast as the default's pass of the same turn.
    speeds: Vec<f64>,
    samples: usize,
}

struct Race<'r> {
    grid: &'r Grid,
    plan: Plan,
    stopwatch: &'r mut dyn Stopwatch,
    /// What ran once, so that its memory is there.
    warm: BTreeSet<(Setting, usize)>,
    timed: BTreeMap<Setting, Timed>,
}

impl Race<'_> {
    /// Coordinate descent from the default; a second time where more than one axis moved, as then the first
    /// may have another best.
    fn descend(&mut self, show: &mut dyn FnMut(&str)) -> Result<Setting> {
        let mut pick = self.grid.default;
        loop {
            let mut moved = 0;
            for axis in Axis::ALL {
                let candidates = self.grid.along(axis, pick);
                if candidates.len() > 1 {
                    show(&format!("{}: {} tried", axis.name(), candidates.len()));
                }
                let next = self.step(pick, candidates)?;
                moved += usize::from(next != pick);
                pick = next;
                self.stopwatch.keep_only(&[pick.threads, self.grid.default.threads]);
            }
            if moved < 2 || 2.0 * self.stopwatch.spent() > self.plan.seconds {
                return Ok(pick);
            }
        }
    }

    /// The fastest of some settings, or `from` if it is as fast.
    fn step(&mut self, from: Setting, mut candidates: Vec<Setting>) -> Result<Setting> {
        if candidates.len() < 2 {
            return Ok(from);
        }
        self.round(&candidates, SHORT_TURNS, 1)?;
        self.sort(&mut candidates);
        let hopeless = (1.0 - LOST) * self.speed(candidates[0]);
        candidates.retain(|&setting| self.speed(setting) > hopeless && setting != from);
        candidates.truncate(candidates.len().div_ceil(2).max(2));
        if candidates.is_empty() {
            return Ok(from);
        }
        candidates.push(from);
        self.round(&candidates, LONG_TURNS, self.plan.samples)?;
        self.sort(&mut candidates);
        let worth = self.speed(candidates[0]) > (1.0 + WORTH_A_STEP) * self.speed(from);
        Ok(if worth { candidates[0] } else { from })
    }

    /// The best of the whole grid.
    fn sweep(&mut self, pick: Setting, show: &mut dyn FnMut(&str)) -> Result<Setting> {
        let mut all = self.grid.settings();
        show(&format!("full sweep: {} settings", all.len()));
        self.round(&all, LONG_TURNS, self.plan.samples)?;
        self.sort(&mut all);
        all.truncate(FINALISTS);
        show(&format!("the best {} of them, and the search's pick", all.len()));
        if !all.contains(&pick) {
            all.push(pick);
        }
        self.round(&all, SWEEP_TURNS, self.plan.samples)?;
        self.sort(&mut all);
        Ok(all[0])
    }

    /// Takes the time of settings and of the default in turns; who begins a turn goes round. What was found
    /// of them before is forgotten.
    fn round(&mut self, settings: &[Setting], turns: usize, samples: usize) -> Result<()> {
        let mut all = vec![self.grid.default];
        settings.iter().for_each(|setting| {
            if !all.contains(setting) {
                all.push(*setting);
            }
        });
        for &setting in &all {
            if self.warm.insert((setting, samples)) {
                self.stopwatch.seconds(setting, samples)?;
            }
        }
        let mut seconds = vec![Vec::new(); all.len()];
        for turn in 0..turns {
            for place in 0..all.len() {
                let index = (turn + place) % all.len();
                seconds[index].push(self.stopwatch.seconds(all[index], samples)?);
            }
        }
        let default = seconds[0].clone();
        for (setting, seconds) in all.into_iter().zip(seconds) {
            let speeds = default.iter().zip(&seconds).map(|(default, taken)| default / taken).collect();
            self.timed.insert(setting, Timed { seconds, speeds, samples });
        }
        Ok(())
    }

    /// By which the search goes: a median, which a single slow pass among few does not move.
    fn speed(&self, setting: Setting) -> f64 {
        self.timed.get(&setting).map_or(0.0, |timed| median(&timed.speeds))
    }

    /// Fastest first.
    fn sort(&self, settings: &mut [Setting]) {
        settings.sort_by(|a, b| self.speed(*b).total_cmp(&self.speed(*a)));
    }

    /// Of one setting against another, both of the last round.
    fn gain(&self, one: Setting, other: Setting) -> Gain {
        let seconds = |setting| self.timed.get(&setting).map_or(&[][..], |timed| &timed.seconds);
        Gain::of(seconds(one), seconds(other))
    }

    fn trials(&self) -> Vec<Trial> {
        let rate = self.timed.get(&self.grid.default).map_or(0.0, |timed| {
            to_f64(self.stopwatch.texts(timed.samples)) / geometric_mean(&timed.seconds)
        });
        let trial = |(&setting, timed): (&Setting, &Timed)| {
            let speed = geometric_mean(&timed.speeds);
            Trial {
                setting,
                texts_per_second: rate * speed,
                speed,
                passes: timed.seconds.len(),
                texts: self.stopwatch.texts(timed.samples),
            }
        };
        let mut trials: Vec<Trial> = self.timed.iter().map(trial).collect();
        let care = |trial: &Trial| trial.passes * trial.texts;
        trials.sort_by(|a, b| care(b).cmp(&care(a)).then(b.speed.total_cmp(&a.speed)));
        trials
    }
}

/// What ratios are shown by: of the same turns, the ratio of two means is the mean of the ratios.
fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / to_f64(values.len())).exp()
}

/// The middle value, or the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

fn to_f64(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
