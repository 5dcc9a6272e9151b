//! What was measured, and what to say of several runs.

use serde::Serialize;
use std::collections::BTreeMap;

/// How a session was saved and brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By Stasis, under Slurm.
    Stasis,
    /// By `criu dump` and `criu restore`, by hand.
    Criu,
    /// By podman's export and import.
    Podman,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Stasis, Self::Criu, Self::Podman];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stasis => "stasis",
            Self::Criu => "criu",
            Self::Podman => "podman",
        }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Seconds for which the session did not run, at a checkpoint after which it goes on.
    Frozen,
    /// Seconds from the trigger until the image is whole (Stasis: and durable).
    Saved,
    /// The same, and durable.
    Durable,
    /// Seconds from the first look at the image until the kernel answers.
    Restored,
    /// Seconds from the submission of the preempting job until the kernel answers on the other node; for those that
    /// know no scheduler, the sum of their steps.
    Moved,
}

impl Measure {
    /// Every measure, as the table has them.
    pub const ALL: [Self; 5] = [Self::Frozen, Self::Saved, Self::Durable, Self::Restored, Self::Moved];
}

/// One run of one method.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The method.
    pub method: Method,
    /// Size of the session's array, in GB.
    pub size_gb: f64,
    /// The measures, in seconds.
    pub measures: BTreeMap<Measure, f64>,
    /// Steps on the way, in seconds, in their order.
    pub steps: Vec<(&'static str, f64)>,
    /// Bytes of the image or export.
    pub image_bytes: u64,
}

/// All samples.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// What succeeded.
    pub samples: Vec<Sample>,
    /// What did not, and why.
    pub failures: Vec<String>,
}

impl Results {
    /// Keeps what a run gave, and why it gave no more.
    pub fn take(&mut self, what: &str, size_gb: f64, samples: Vec<Sample>, outcome: anyhow::Result<()>) {
        for sample in samples {
            eprintln!("  {}: {:.2?}", sample.method, sample.measures);
            self.samples.push(Sample { size_gb, ..sample });
        }
        if let Err(error) = outcome {
            let failure = format!("{what}, {size_gb} GB: {error:#}");
            eprintln!("  failed: {failure}");
            self.failures.push(failure);
        }
    }

    /// The sizes that were measured, in their order.
    pub fn sizes(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.samples.iter().map(|sample| sample.size_gb).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }

    /// The runs of a method at a size.
    pub fn of(&self, method: Method, size_gb: f64) -> impl Iterator<Item = &Sample> {
        let is =
            move |sample: &&Sample| sample.method == method && sample.size_gb.total_cmp(&size_gb).is_eq();
        self.samples.iter().filter(is)
    }

    /// The fastest run's figure of a measure: what others took longer, they took for the machine's sake.
    pub fn fastest(&self, method: Method, size_gb: f64, measure: Measure) -> Option<f64> {
        let figures = self.of(method, size_gb).filter_map(|sample| sample.measures.get(&measure).copied());
        figures.min_by(f64::total_cmp)
    }

    /// The median of a measure.
    pub fn median(&self, method: Method, size_gb: f64, measure: Measure) -> Option<f64> {
        median(self.of(method, size_gb).filter_map(|sample| sample.measures.get(&measure).copied()))
    }

    /// The medians of the steps of a method, in their order.
    pub fn steps(&self, method: Method, size_gb: f64) -> Vec<(&'static str, f64)> {
        let names = self.of(method, size_gb).next().map(|sample| sample.steps.iter().map(|(name, _)| *name));
        let of_step = |name| {
            let seconds = self.of(method, size_gb).flat_map(|sample| sample.steps.iter());
            median(seconds.filter(|(step, _)| *step == name).map(|(_, seconds)| *seconds))
                .map(|found| (name, found))
        };
        names.into_iter().flatten().filter_map(of_step).collect()
    }
}

/// The middle one, or the mean of the middle two.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
