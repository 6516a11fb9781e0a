//! What can fail when a gate is put together.

/// A gate could not be built or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A metric was registered twice.
    #[error("registering the metric `{name}`")]
    Metric {
        /// The metric.
        name: &'static str,
        /// Why.
        #[source]
        source: prometheus::Error,
    },
}
