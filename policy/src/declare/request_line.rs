//! `request = "POST /repos/{owner}/{repo}/issues"`: a method and a path template.

use exeat_types::{Report, config::Item};
use http::Method;

/// A checked method and template.
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) template: String,
    pub(super) params: Vec<String>,
}

impl RequestLine {
    /// Reads and checks the text.
    pub(super) fn read(item: Item<'_>, report: &mut Report) -> Option<Self> {
        match Self::parse(item.text(report)?) {
            Ok(line) => Some(line),
            Err(problem) => {
                item.problem(report, problem)
                    .help("write a method and a path, such as `GET /repos/{owner}/{repo}`");
                None
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (method, path) = text.split_once(' ').ok_or("expected a method and a path")?;
        let word =
            !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let method = Method::from_bytes(method.as_bytes()).ok().filter(|_| word);
        let method = method.ok_or("expected a method in capital letters")?;
        if method == Method::CONNECT || method == Method::TRACE {
            return Err(format!("`{method}` is never forwarded"));
        }
        let rest = path
            .strip_prefix('/')
            .ok_or("expected a path that begins with `/`")?;
        let mut params = Vec::new();
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            if segment.is_empty() && !last {
                return Err("an empty segment is not accepted".to_owned());
            }
            read_segment(segment, &mut params)?;
            if segment.starts_with("{*") && !last {
                return Err("`{*name}` has to be the last segment".to_owned());
            }
        }
        Ok(Self {
            method,
            template: path.to_owned(),
            params,
        })
    }
}

/// A segment is literal text with at most one `{name}` in it; `{*name}` takes the rest of the path.
fn read_segment(segment: &str, params: &mut Vec<String>) -> Result<(), String> {
    let Some((before, after)) = segment.split_once('{') else {
        return literal(segment);
    };
    let (name, after) = after.split_once('}').ok_or("`{` without `}`")?;
    literal(before)?;
    literal(after).map_err(|problem| match after.contains('{') {
        true => "a segment can hold only one parameter".to_owned(),
        false => problem,
    })?;
    let plain = match name.strip_prefix('*') {
        Some(rest) if before.is_empty() && after.is_empty() => rest,
        Some(_) => return Err("`{*name}` has to be the whole segment".to_owned()),
        None => name,
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    if plain.is_empty() || !plain.chars().all(word) {
        return Err(format!("`{{{name}}}` is not the name of a parameter"));
    }
    if params.iter().any(|known| known == plain) {
        return Err(format!("the parameter `{plain}` stands twice"));
    }
    params.push(plain.to_owned());
    Ok(())
}

/// Literal text has to be canonical, or no request would ever match it.
fn literal(text: &str) -> Result<(), String> {
    if text == "." || text == ".." {
        return Err("dot segments are not accepted".to_owned());
    }
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let fits = match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()];
                digits
                    .iter()
                    .all(|d| d.is_some_and(|d| d.is_ascii_digit() || (b'A'..=b'F').contains(&d)))
            }
            plain => plain.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&plain),
        };
        if !fits {
            return Err(format!(
                "`{text}` holds a character that a path cannot hold as it is"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_read_strictly() {
        let line = RequestLine::parse("GET /repos/{owner}/{repo}.git/info/{*rest}").unwrap();
        assert_eq!(line.params, ["owner", "repo", "rest"]);
        for wrong in [
            "GET",
            "get /",
            "GET repos",
            "GET /a//b",
            "GET /{a}{b}",
            "GET /{a",
            "GET /a}",
            "GET /{*a}/b",
            "GET /{}",
            "GET /{a}/{a}",
            "GET /a b",
            "GET /a?b",
            "GET /../a",
            "CONNECT /a",
            "GET /%2f",
            "GET /{a b}",
        ] {
            assert!(RequestLine::parse(wrong).is_err(), "{wrong}");
        }
        assert!(RequestLine::parse("GET /").is_ok());
        assert!(RequestLine::parse("GET /a/").is_ok());
    }
}
