//! Figures: CPU time of a process, latencies, medians.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// One round of one system.
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_us: f64,
}

/// The median of several rounds.
#[derive(Serialize)]
pub(crate) struct Figure {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_us: f64,
}

impl Sample {
    pub(crate) fn new(mut latencies: Vec<Duration>, cpu: Duration, time: Duration) -> Self {
        latencies.sort_unstable();
        let count = latencies.len().max(1);
        let at = |share: usize| {
            let index = (count * share / 100).min(count - 1);
            latencies
                .get(index)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1e3
        };
        let requests = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Self {
            per_second: requests / time.as_secs_f64(),
            p50_ms: at(50),
            p99_ms: at(99),
            cpu_us: cpu.as_secs_f64() * 1e6 / requests,
        }
    }
}

/// The median of each figure by itself.
pub(crate) fn median(samples: &[Sample]) -> Figure {
    let middle = |figure: fn(&Sample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Figure {
        per_second: middle(|sample| sample.per_second),
        p50_ms: middle(|sample| sample.p50_ms),
        p99_ms: middle(|sample| sample.p99_ms),
        cpu_us: middle(|sample| sample.cpu_us),
    }
}

/// User and system time that a process has used, in steps of the kernel's 10 ms.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit(')').next().context("an odd /proc/PID/stat")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<u64> {
        Ok(fields
            .get(index)
            .context("a short /proc/PID/stat")?
            .parse()?)
    };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

/// The machine's load averages.
pub(crate) fn load_average() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text
        .split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" "))
}
