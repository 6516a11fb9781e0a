//! Real inputs: programs of others, unmodified, inside `exeat run`, against servers that write down what they saw.
//!
//! `scripts/real-deps` installs them. The programs lie in `tests/real`, which says what each is.

#[cfg(test)]
mod corporate;
#[cfg(test)]
mod first;
#[cfg(test)]
mod git;
#[cfg(test)]
mod github;
#[cfg(test)]
mod llm;
#[cfg(test)]
mod site;
