//! Git's deltas: copy from the base, insert what is new.
//!
//! The result is exactly as long as the delta says, and that is bounded before a byte is made.

use exeat_types::Malformed;

use super::wrong;

/// Largest object that a delta may make. Only commits are made here, and they are small.
const RESULT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Builds an object from its base.
///
/// # Errors
/// When the delta is not meant for this base, is malformed, or makes too much.
pub(super) fn apply(base: &[u8], delta: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut rest = delta;
    let base_size = size(&mut rest)?;
    let result_size = size(&mut rest)?;
    if base_size != base.len() || result_size > RESULT_BYTES_MAX {
        return Err(broken());
    }
    let mut result = Vec::with_capacity(result_size);
    while let Some((&code, tail)) = rest.split_first() {
        rest = tail;
        let part = match code {
            0 => return Err(broken()),
            1..=0x7f => {
                let (part, tail) = rest
                    .split_at_checked(usize::from(code))
                    .ok_or_else(broken)?;
                rest = tail;
                part
            }
            0x80.. => {
                let offset = number(&mut rest, code & 0x0f)?;
                let length = number(&mut rest, code >> 4 & 0x07)?;
                let length = if length == 0 { 0x10000 } else { length };
                let end = offset.checked_add(length).ok_or_else(broken)?;
                base.get(offset..end).ok_or_else(broken)?
            }
        };
        if part.len() > result_size - result.len() {
            return Err(broken());
        }
        result.extend_from_slice(part);
    }
    if result.len() == result_size {
        Ok(result)
    } else {
        Err(broken())
    }
}

fn broken() -> Malformed {
    wrong("a delta does not fit its base")
}

/// A size with seven bits a byte, least first.
fn size(rest: &mut &[u8]) -> Result<usize, Malformed> {
    let mut value = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, tail) = rest.split_first().ok_or_else(broken)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok().ok_or_else(broken);
        }
    }
    Err(broken())
}

/// The bytes of a number that `present` says are there, least first.
fn number(rest: &mut &[u8], present: u8) -> Result<usize, Malformed> {
    let mut value = 0;
    for place in 0..4 {
        if present >> place & 1 == 1 {
            let (&byte, tail) = rest.split_first().ok_or_else(broken)?;
            *rest = tail;
            value |= usize::from(byte) << (place * 8);
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, delta: &[u8], expect: Option<&str>) {
        let made = apply(base.as_bytes(), delta).ok();
        assert_eq!(made.as_deref(), expect.map(str::as_bytes));
    }

    #[test]
    fn deltas_copy_and_insert_exactly_what_they_announce() {
        check("hello", &[5, 5, 0x90, 5], Some("hello"));
        check("hello", &[5, 4, 0x91, 1, 3, 1, b'!'], Some("ell!"));
        check("hello", &[5, 0], Some(""));
        check("hello", &[4, 5, 0x90, 5], None);
        check("hello", &[5, 6, 0x90, 5], None);
        check("hello", &[5, 4, 0x90, 5], None);
        check("hello", &[5, 5, 0x91, 1, 5], None);
        check("hello", &[5, 1, 0], None);
        check("hello", &[5, 3, 3, b'a'], None);
        check("hello", &[5, 5, 0x90], None);
        check("hello", &[5, 5, 0x80], None);
        check("hello", &[0x85], None);
        check("hello", &[5, 0xff, 0xff, 0xff, 0xff, 0x0f], None);
    }
}
