//! HTTP front door: accept, identify, intercept, drive the pipeline.
