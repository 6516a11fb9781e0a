//! Keep secrets, build credential injections, find secrets in streams.
