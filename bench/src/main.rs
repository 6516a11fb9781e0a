//! stub.

fn main() {}
