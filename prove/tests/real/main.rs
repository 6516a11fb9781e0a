//! The program with the real solver.

#[cfg(test)]
mod proofs;
