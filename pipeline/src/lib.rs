//! The order of the stages and the stage types.
