//! Numbers for operators. Labels are bounded: reasons and decisions, never hosts, paths or agents.

use std::time::Duration;

use exeat_types::Reason;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::Error;

/// The metrics of the road.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    refusals: IntCounterVec,
    open: IntGauge,
    road: Histogram,
    whole: Histogram,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    redactions: IntCounter,
    passthrough: IntCounter,
    approvals_pending: IntGauge,
    approvals: IntCounterVec,
    approval_wait: Histogram,
}

const ROAD_BUCKETS: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5,
];
const APPROVAL_BUCKETS: [f64; 9] = [1.0, 5.0, 10.0, 25.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];
const WHOLE_BUCKETS: [f64; 11] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let calls = Opts::new("exeat_calls_total", "Calls that ended, by result");
        let refusals = Opts::new("exeat_refusals_total", "Requests refused, by reason");
        let road = "Time from accepting a call to letting it leave, in seconds";
        let whole = "Time from accepting a call to its end, in seconds";
        Ok(Self {
            calls: register(
                registry,
                "exeat_calls_total",
                IntCounterVec::new(calls, &["result"]),
            )?,
            refusals: register(
                registry,
                "exeat_refusals_total",
                IntCounterVec::new(refusals, &["reason"]),
            )?,
            open: register(
                registry,
                "exeat_calls_open",
                IntGauge::new("exeat_calls_open", "Calls whose receipt is open"),
            )?,
            road: histogram(registry, "exeat_road_seconds", road, &ROAD_BUCKETS)?,
            whole: histogram(registry, "exeat_call_seconds", whole, &WHOLE_BUCKETS)?,
            request_bytes: counter(
                registry,
                "exeat_request_bytes_total",
                "Body bytes sent upstream",
            )?,
            response_bytes: counter(
                registry,
                "exeat_response_bytes_total",
                "Body bytes received from upstream",
            )?,
            redactions: counter(
                registry,
                "exeat_redactions_total",
                "Secrets taken out of responses",
            )?,
            passthrough: counter(
                registry,
                "exeat_passthrough_total",
                "Connections that passed unread",
            )?,
            approvals_pending: register(
                registry,
                "exeat_approvals_pending",
                IntGauge::new("exeat_approvals_pending", "Questions that wait for a human"),
            )?,
            approvals: register(
                registry,
                "exeat_approvals_total",
                IntCounterVec::new(
                    Opts::new("exeat_approvals_total", "Answers to questions, by result"),
                    &["result"],
                ),
            )?,
            approval_wait: histogram(
                registry,
                "exeat_approval_wait_seconds",
                "Time from a question to its answer, in seconds",
                &APPROVAL_BUCKETS,
            )?,
        })
    }

    pub(crate) fn approvals_pending(&self, count: usize) {
        self.approvals_pending
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn approval_answered(&self, result: &str, waited: Duration) {
        self.approvals.with_label_values(&[result]).inc();
        self.approval_wait.observe(waited.as_secs_f64());
    }

    pub(crate) fn passed_unread(&self) {
        self.passthrough.inc();
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refusals.with_label_values(&[reason.code()]).inc();
    }

    pub(crate) fn opened(&self) {
        self.open.inc();
    }

    pub(crate) fn forgotten(&self) {
        self.open.dec();
    }

    pub(crate) fn left(&self, after: Duration) {
        self.road.observe(after.as_secs_f64());
    }

    pub(crate) fn ended(&self, result: &str, after: Duration, bytes: (u64, u64), redactions: u64) {
        self.open.dec();
        self.calls.with_label_values(&[result]).inc();
        self.whole.observe(after.as_secs_f64());
        self.request_bytes.inc_by(bytes.0);
        self.response_bytes.inc_by(bytes.1);
        self.redactions.inc_by(redactions);
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    name: &'static str,
    made: prometheus::Result<C>,
) -> Result<C, Error> {
    let wrong = |source| Error::Metric { name, source };
    let collector = made.map_err(wrong)?;
    registry
        .register(Box::new(collector.clone()))
        .map_err(wrong)?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &'static str, help: &str) -> Result<IntCounter, Error> {
    register(registry, name, IntCounter::new(name, help))
}

fn histogram(
    registry: &Registry,
    name: &'static str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, name, Histogram::with_opts(options))
}
