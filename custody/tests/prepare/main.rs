//! What custody does to requests: injection, stripping, and placeholders in every place where they must not be.

#[cfg(test)]
mod injection;
#[cfg(test)]
mod minted;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sigv4;
#[cfg(test)]
mod slots;
#[cfg(test)]
mod world;
