//! Fits find the law and the numbers that data was drawn from, and say on real lifetimes what was published.

mod common;

use stasis_workloads::fit::{Fits, fit_durations, fit_lifetime_trace, fit_lifetimes, fit_sessions};
use stasis_workloads::generate::{self, GeneratorSpec};
use stasis_workloads::import::lifetimes::LifetimeReader;
use stasis_workloads::streams::{Purpose, stream};
use stasis_workloads::{Bathtub, Law, TraceError};
use std::path::Path;

fn drawn(law: Law, count: usize) -> Vec<f64> {
    let mut draw = stream(7, 0, 0, Purpose::named("fits"));
    (0..count).map(|_| law.sample_s(&mut draw)).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found / expected - 1.0).abs() < tolerance, "{what}: {found}, not {expected}");
}

#[test]
fn each_law_is_told_from_the_others_and_its_numbers_are_found() {
    let found = |law| fit_durations(&drawn(law, 20_000)).unwrap().best().law;
    match found(Law::LogNormal { median_s: 60.0, sigma: 1.5 }) {
        Law::LogNormal { median_s, sigma } => {
            near(median_s, 60.0, 0.05, "median");
            near(sigma, 1.5, 0.03, "sigma");
        }
        other => panic!("{other:?}"),
    }
    match found(Law::Weibull { shape: 0.6, scale_s: 300.0 }) {
        Law::Weibull { shape, scale_s } => {
            near(shape, 0.6, 0.03, "shape");
            near(scale_s, 300.0, 0.05, "scale");
        }
        other => panic!("{other:?}"),
    }
    match found(Law::Pareto { shape: 1.4, minimum_s: 10.0 }) {
        Law::Pareto { shape, minimum_s } => {
            near(shape, 1.4, 0.03, "shape");
            near(minimum_s, 10.0, 0.01, "minimum");
        }
        other => panic!("{other:?}"),
    }
    let fits = fit_durations(&drawn(Law::Exponential { mean_s: 90.0 }, 20_000)).unwrap();
    let Some(Law::Exponential { mean_s }) = fits.of("exponential").map(|fit| fit.law) else {
        panic!("{fits:?}")
    };
    near(mean_s, 90.0, 0.03, "mean");
    // A Weibull law of shape 1 is exponential: AIC may take it by a hair, and no more.
    assert!(fits.of("exponential").unwrap().aic - fits.best().aic < 4.0, "{fits:?}");
    assert_eq!(fit_durations(&[5.0; 10]).unwrap().best().law, Law::Constant { value_s: 5.0 });
}

#[test]
fn a_bathtub_is_recovered() {
    let law = Bathtub::new(0.6, 4000.0, 1500.0, 86_000.0).unwrap();
    let fits = fit_lifetimes(&drawn(Law::Bathtub(law), 6000)).unwrap();
    let Law::Bathtub(found) = fits.best().law else { panic!("{fits:?}") };
    let (found, expected) = (found.parameters(), law.parameters());
    near(found.a, expected.a, 0.05, "a");
    near(found.tau1_s, expected.tau1_s, 0.1, "tau1");
    near(found.tau2_s, expected.tau2_s, 0.15, "tau2");
    near(found.b_s, expected.b_s, 0.02, "b");
    assert!(fits.best().ks < 0.02, "{}", fits.best().ks);
}

#[test]
fn nothing_and_nonsense_cannot_be_fitted() {
    for samples in [&[][..], &[1.0, 0.0], &[1.0, -2.0], &[1.0, f64::NAN], &[1.0, f64::INFINITY]] {
        assert_eq!(fit_durations(samples).unwrap_err().key, "samples");
    }
    // Two samples, or enormous spread, are little to go by but no reason to fail.
    fit_lifetimes(&[1.0, 2.0]).unwrap();
    fit_lifetimes(&[1e-300, 1.0, 1e300]).unwrap();
}

#[test]
fn a_generator_is_recovered_from_its_trace() {
    let mut spec = GeneratorSpec::read(&common::sample("generator.toml")).unwrap().sessions.unwrap();
    (spec.arrivals.length_days, spec.arrivals.per_day) = (56.0, 100.0);
    let trace = generate::sessions(&spec, 5, 0).unwrap();
    let found = fit_sessions(Path::new("t"), trace.map(Ok::<_, TraceError>)).unwrap().spec;
    near(found.arrivals.per_day, 100.0, 0.05, "per day");
    assert_eq!(found.arrivals.users, 25);
    let weight = |weights: &[f64], index: usize| weights[index] / weights.iter().sum::<f64>();
    near(
        weight(&found.arrivals.hourly_weights, 14),
        weight(&spec.arrivals.hourly_weights, 14),
        0.15,
        "at 14 h",
    );
    near(
        weight(&found.arrivals.daily_weights, 5),
        weight(&spec.arrivals.daily_weights, 5),
        0.2,
        "on the sixth day",
    );
    for (found, law) in [(found.think, spec.think), (found.busy, spec.busy), (found.linger, spec.linger)] {
        let (Law::LogNormal { median_s, sigma }, Law::LogNormal { median_s: median, sigma: spread }) =
            (found, law)
        else {
            panic!("{found:?} for {law:?}")
        };
        near(median_s, median, 0.05, "median");
        near(sigma, spread, 0.05, "sigma");
    }
    near(found.cells.median_cells, spec.cells.median_cells, 0.05, "cells");
    near(found.cells.sigma, spec.cells.sigma, 0.05, "sigma of cells");
    near(found.memory.start_median_bytes, spec.memory.start_median_bytes, 0.05, "memory at the start");
    near(found.memory.growth_chance, spec.memory.growth_chance, 0.05, "chance of growth");
    let Law::Exponential { mean_s } = found.browser.patience else { panic!("{:?}", found.browser) };
    near(mean_s, 2400.0, 0.05, "patience");
    near(found.requests[0].weight / found.requests[2].weight, 6.0, 0.2, "requests");
}

#[test]
fn a_fit_generates_and_is_written_as_toml() {
    let sessions = stasis_workloads::open_sessions(&common::sample("sessions.csv")).unwrap();
    let fit = fit_sessions(Path::new("sessions.csv"), sessions).unwrap();
    let spec = GeneratorSpec { sessions: Some(fit.spec.clone()), ..GeneratorSpec::default() };
    let again = GeneratorSpec::parse(Path::new("fit.toml"), &spec.to_toml().unwrap()).unwrap();
    assert_eq!(again.sessions.as_ref(), Some(&fit.spec));
    assert!(generate::sessions(&fit.spec, 1, 0).unwrap().count() > 50);
    assert_eq!(fit.quantities.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["think", "busy", "linger"]);
}

#[test]
fn a_trace_in_which_nothing_computes_cannot_be_fitted() {
    let nothing = std::iter::empty::<Result<_, TraceError>>();
    assert_eq!(fit_sessions(Path::new("t"), nothing).unwrap_err().key(), "busy_s");
}

#[test]
fn public_lifetimes_are_a_bathtub() {
    let Some(path) = common::public("gcp-lifetimes.csv") else { return };
    let lives: Vec<u64> = LifetimeReader::open(&path).unwrap().map(Result::unwrap).collect();
    let young = lives.iter().filter(|&&ns| ns < 3 * 3600 * stasis_workloads::NS_PER_S).count();
    let old = lives.iter().filter(|&&ns| ns >= 21 * 3600 * stasis_workloads::NS_PER_S).count();
    let share = |count: usize| (100.0 * count as f64 / lives.len() as f64).round();
    assert!((share(young) - 56.0).abs() < 0.5 && (share(old) - 26.0).abs() < 0.5);
    let fits: Fits = fit_lifetime_trace(&path, LifetimeReader::open(&path).unwrap()).unwrap();
    near(fits.median_s / 3600.0, 1.86, 0.01, "median in hours");
    for fit in &fits.laws {
        println!("{:12} AIC {:9.1}  KS {:.3}  {:?}", fit.law.name(), fit.aic, fit.ks, fit.law);
    }
    let (bathtub, exponential) = (fits.of("bathtub").unwrap(), fits.of("exponential").unwrap());
    assert_eq!(fits.best(), bathtub);
    assert!(bathtub.aic < exponential.aic - 100.0 && bathtub.ks < exponential.ks / 2.0, "{fits:?}");
}
