//! The exeat binary.

fn main() {}
