//! The search on costs that were made up, where the best is known.

use super::*;
use crate::tokens::Batching;

/// Seconds of a pass by a formula, with whatever else the machine does in between.
struct MadeUp<'m> {
    cost: &'m dyn Fn(Setting) -> f64,
    /// A factor for each call.
    weather: &'m dyn Fn(usize) -> f64,
    calls: usize,
    spent: f64,
    asked: BTreeMap<Setting, usize>,
    kept: Vec<Vec<usize>>,
}

impl Stopwatch for MadeUp<'_> {
    fn seconds(&mut self, setting: Setting, samples: usize) -> Result<f64> {
        let seconds = (self.cost)(setting) * (self.weather)(self.calls) * to_f64(samples);
        self.calls += 1;
        self.spent += seconds;
        *self.asked.entry(setting).or_default() += 1;
        Ok(seconds)
    }

    fn texts(&self, samples: usize) -> usize {
        100 * samples
    }

    fn spent(&self) -> f64 {
        self.spent
    }

    fn keep_only(&mut self, threads: &[usize]) {
        self.kept.push(threads.to_vec());
    }
}

fn grid() -> Grid {
    Grid {
        default: Setting::new(8, Batching::default()),
        threads: shares(8),
        token_budgets: vec![256, 512, 1024, 2048, 4096],
        buckets: vec![Spacing::Coarse, Spacing::Standard, Spacing::Fine],
    }
}

const PLAN: Plan = Plan { samples: 3, seconds: 1e9, full_sweep: false };

fn searched<'m>(
    cost: &'m dyn Fn(Setting) -> f64,
    weather: &'m dyn Fn(usize) -> f64,
    plan: Plan,
) -> (Search, MadeUp<'m>) {
    let mut stopwatch =
        MadeUp { cost, weather, calls: 0, spent: 0.0, asked: BTreeMap::new(), kept: Vec::new() };
    let found = search(&grid(), plan, &mut stopwatch, &mut |_| ()).unwrap();
    (found, stopwatch)
}

/// Fastest with these values, and the slower the further away on each axis.
fn valley(threads: usize, token_budget: usize, buckets: Spacing) -> impl Fn(Setting) -> f64 {
    move |setting| {
        let apart = |a: usize, b: usize| (to_f64(a) / to_f64(b)).ln().abs();
        let spacing = if setting.buckets == buckets { 1.0 } else { 1.05 };
        spacing
            * (1.0 + 0.4 * apart(setting.threads, threads) + 0.1 * apart(setting.token_budget, token_budget))
    }
}

fn quiet(_: usize) -> f64 {
    1.0
}

/// Up to 5 % up or down, without a pattern.
fn noisy(call: usize) -> f64 {
    let bits = (call as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    1.0 + 0.1 * (to_f64(usize::try_from(bits).unwrap()) / f64::from(1 << 24) - 0.5)
}

#[test]
fn the_best_of_a_valley_is_found_wherever_it_lies() {
    for &threads in &grid().threads {
        for &token_budget in &grid().token_budgets {
            for &buckets in &grid().buckets {
                let best = Setting { threads, token_budget, buckets };
                let cost = valley(threads, token_budget, buckets);
                let (found, stopwatch) = searched(&cost, &quiet, PLAN);
                assert_eq!((found.pick, found.kept), (best, best));
                if best == grid().default {
                    assert_eq!(found.gain, None);
                    continue;
                }
                let gain = found.gain.unwrap();
                assert!((gain.ratio - cost(grid().default) / cost(best)).abs() < 1e-9, "{gain:?}");
                assert!(stopwatch.asked.len() < 30, "{} of 60 were tried", stopwatch.asked.len());
                assert_eq!(found.trials[0].setting, best);
                assert!((found.trials[0].texts_per_second - 100.0 / cost(best)).abs() < 1e-9);
                assert_eq!((found.trials[0].passes, found.trials[0].texts), (LAST_TURNS, 300));
            }
        }
    }
}

#[test]
fn what_is_hopeless_costs_little_and_few_networks_stay_loaded() {
    let cost = |setting: Setting| if setting.threads < 8 { 2.0 } else { 1.0 };
    let (found, stopwatch) = searched(&cost, &quiet, PLAN);
    assert_eq!(found.kept, grid().default);
    let slow = stopwatch.asked.iter().filter(|(setting, _)| setting.threads < 8);
    // One uncounted pass and the short round.
    assert!(slow.map(|(_, times)| *times).all(|times| times == 1 + SHORT_TURNS));
    assert!(stopwatch.kept.iter().all(|threads| threads.as_slice() == [8, 8]));
}

#[test]
fn noise_is_no_reason_to_leave_the_default() {
    for shift in 0..40 {
        let weather = |call: usize| noisy(call + 1000 * shift);
        let (found, _) = searched(&|_| 1.0, &weather, PLAN);
        assert_eq!(found.kept, found.default, "{:?}", found.gain);
    }
    // Nor is a gain too small to matter.
    let (found, _) = searched(&valley(8, 512, Spacing::Standard), &quiet, PLAN);
    assert_eq!(found.kept, found.default);
    let little = |setting: Setting| if setting.buckets == Spacing::Fine { 0.985 } else { 1.0 };
    let (found, _) = searched(&little, &quiet, PLAN);
    assert_eq!((found.pick.buckets, found.kept), (Spacing::Fine, found.default));
    assert!(!found.gain.unwrap().is_worth_keeping());
}

#[test]
fn a_machine_that_is_noisy_or_slows_down_hurts_all_alike() {
    let best = Setting { threads: 4, token_budget: 2048, buckets: Spacing::Fine };
    let cost = valley(4, 2048, Spacing::Fine);
    for shift in 0..20 {
        let weather = |call: usize| noisy(call + 1000 * shift) * (1.0 + to_f64(call) / 50.0);
        let (found, _) = searched(&cost, &weather, PLAN);
        assert!(cost(found.kept) < 1.051 * cost(best), "{}", found.kept);
        let gain = found.gain.unwrap();
        let truth = cost(found.default) / cost(found.pick);
        assert!((gain.ratio / truth - 1.0).abs() < 5.0 * gain.standard_error, "{gain:?}, {truth}");
    }
}

#[test]
fn the_rates_that_are_shown_have_the_ratios_that_are_shown() {
    // The machine is twice as slow in every other round, and has a drift.
    let weather =
        |call: usize| noisy(call) * if call % 40 < 20 { 1.0 } else { 2.0 } * (1.0 + to_f64(call) / 100.0);
    for full_sweep in [false, true] {
        let cost = valley(4, 2048, Spacing::Fine);
        let (found, _) = searched(&cost, &weather, Plan { full_sweep, ..PLAN });
        let default = found.trials.iter().find(|trial| trial.setting == found.default).unwrap();
        assert!((default.speed - 1.0).abs() < 1e-12);
        for trial in &found.trials {
            let ratio = trial.texts_per_second / default.texts_per_second;
            assert!((ratio - trial.speed).abs() < 1e-9, "{trial:?}, {default:?}");
        }
        let pick = found.trials.iter().find(|trial| trial.setting == found.pick).unwrap();
        let gain = found.gain.unwrap();
        assert!((pick.speed - gain.ratio).abs() < 1e-9 || full_sweep, "{pick:?}, {gain:?}");
    }
}

#[test]
fn a_second_look_is_taken_only_while_there_is_time() {
    // The best number of threads depends on the buckets.
    let cost = |setting: Setting| match setting.buckets {
        Spacing::Fine => valley(2, 1024, Spacing::Fine)(setting),
        other => 1.5 * valley(4, 1024, other)(setting),
    };
    let (patient, long) = searched(&cost, &quiet, PLAN);
    let (hasty, short) = searched(&cost, &quiet, Plan { seconds: 1.0, ..PLAN });
    assert!(cost(patient.pick) < cost(hasty.pick));
    assert!(long.calls > short.calls);
}

#[test]
fn a_sweep_finds_what_a_descent_cannot_and_says_how_far_that_is() {
    let hidden = Setting { threads: 2, token_budget: 256, buckets: Spacing::Coarse };
    let cost =
        |setting: Setting| if setting == hidden { 0.5 } else { valley(8, 2048, Spacing::Standard)(setting) };
    let (found, _) = searched(&cost, &quiet, Plan { full_sweep: true, ..PLAN });
    let sweep = found.sweep.unwrap();
    assert_eq!((sweep.settings, sweep.best, found.kept), (60, hidden, hidden));
    assert_eq!(found.pick.token_budget, 2048);
    let behind = sweep.pick_against_best.unwrap();
    assert!((behind.ratio - 0.5 / cost(found.pick)).abs() < 1e-9, "{behind:?}");
    assert_eq!(found.trials.len(), 60);
    let (found, _) = searched(&valley(8, 2048, Spacing::Fine), &quiet, Plan { full_sweep: true, ..PLAN });
    assert_eq!(found.sweep.unwrap().pick_against_best, None);
    assert_eq!(found.kept, found.pick);
}

#[test]
fn a_gain_is_a_mean_of_pairs_with_its_error() {
    let gain = Gain::of(&[1.0, 2.0, 1.0], &[1.1, 2.2, 1.1]);
    assert!((gain.ratio - 1.1).abs() < 1e-12 && gain.standard_error < 1e-12 && gain.pairs == 3);
    assert!(gain.is_worth_keeping());
    // ln 1.21 and ln 1: mean ln 1.1, deviation ln 1.1 · √2, error ln 1.1.
    let gain = Gain::of(&[1.0, 1.0], &[1.21, 1.0]);
    assert!((gain.ratio - 1.1).abs() < 1e-12);
    assert!((gain.standard_error - 1.1 * 1.1_f64.ln()).abs() < 1e-12);
    assert!(!gain.is_worth_keeping());
}

#[test]
fn a_grid_goes_from_all_cores_to_a_quarter() {
    assert_eq!(shares(1), [1]);
    assert_eq!(shares(2), [1, 2]);
    assert_eq!(shares(4), [1, 2, 3, 4]);
    assert_eq!(shares(16), [4, 8, 12, 16]);
    assert_eq!(grid().settings().len(), 4 * 5 * 3);
    assert!(grid().settings().contains(&grid().default));
}
