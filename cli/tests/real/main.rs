//! Real inputs: programs of others, unmodified, inside `exeat run`, against servers that write down what they saw.
//!
//! `scripts/real-deps` installs them. The programs lie in `tests/real`, which says what each is.

#[cfg(test)]
mod aws;
#[cfg(test)]
mod capabilities;
#[cfg(test)]
mod console_api;
#[cfg(test)]
mod console_https;
#[cfg(test)]
mod console_upgrade;
#[cfg(test)]
mod corporate;
#[cfg(test)]
mod first;
#[cfg(test)]
mod git;
#[cfg(test)]
mod github;
#[cfg(test)]
mod graphql;
#[cfg(test)]
mod issuers;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod llm;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod passkeys;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod site;
