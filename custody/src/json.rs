//! Finds one string in JSON text without reformatting the rest, and writes text as the inside of one.
//!
//! The text must be well-formed and free of duplicate names, which `exeat_types::unique_json` has checked before.

use std::ops::Range;

/// Where the inside of the string at this pointer (RFC 6901) stands; `None` when there is none, or it is no string.
pub(crate) fn string_at(text: &[u8], pointer: &str) -> Option<Range<usize>> {
    let path: Vec<String> = match pointer.strip_prefix('/') {
        Some(path) => path.split('/').map(unescape).collect(),
        None if pointer.is_empty() => Vec::new(),
        None => return None,
    };
    let mut reader = Reader { text, at: 0 };
    reader.find(&path)
}

/// Where the insides of all members of this name stand, however deep; `None` when one of them is neither a string nor null.
pub(crate) fn members(text: &[u8], name: &str) -> Option<Vec<Range<usize>>> {
    let mut reader = Reader { text, at: 0 };
    let mut found = Vec::new();
    reader.collect(name, &mut found)?;
    Some(found)
}

/// Whether the pointer names this member of the whole value.
pub(crate) fn is_member(pointer: &str, name: &str) -> bool {
    pointer
        .strip_prefix('/')
        .is_some_and(|token| !token.contains('/') && unescape(token) == name)
}

/// The pointer to this member of the whole value.
pub(crate) fn pointer_of(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The text as it stands between the quotes of a JSON string.
pub(crate) fn escape(text: &str) -> Vec<u8> {
    let mut quoted = serde_json::Value::from(text).to_string().into_bytes();
    quoted.pop();
    quoted.drain(..1);
    quoted
}

/// RFC 6901 section 4: first `~1`, then `~0`.
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn find(&mut self, path: &[String]) -> Option<Range<usize>> {
        let Some((token, rest)) = path.split_first() else {
            return self.string();
        };
        match self.peek()? {
            b'{' => {
                self.at = self.at.checked_add(1)?;
                while self.peek()? != b'}' {
                    let name = self.string()?;
                    self.take(b':')?;
                    if self.reads(name, token) {
                        return self.find(rest);
                    }
                    self.skip()?;
                    self.end(b'}')?;
                }
                None
            }
            b'[' => {
                let wanted: usize = token.parse().ok()?;
                self.at = self.at.checked_add(1)?;
                for _ in 0..wanted {
                    self.skip()?;
                    self.end(b']')?;
                }
                (self.peek()? != b']').then(|| self.find(rest))?
            }
            _ => None,
        }
    }

    /// Reads one value and collects members of the name. How deep it goes, the check before has bounded.
    fn collect(&mut self, wanted: &str, found: &mut Vec<Range<usize>>) -> Option<()> {
        match self.peek()? {
            b'{' => {
                self.at = self.at.checked_add(1)?;
                while self.peek()? != b'}' {
                    let name = self.string()?;
                    self.take(b':')?;
                    if self.reads(name, wanted) {
                        match self.peek()? {
                            b'"' => found.push(self.string()?),
                            b'n' => self.skip()?,
                            _ => return None,
                        }
                    } else {
                        self.collect(wanted, found)?;
                    }
                    self.end(b'}')?;
                }
                self.take(b'}')
            }
            b'[' => {
                self.at = self.at.checked_add(1)?;
                while self.peek()? != b']' {
                    self.collect(wanted, found)?;
                    self.end(b']')?;
                }
                self.take(b']')
            }
            _ => self.skip(),
        }
    }

    /// Whether the string inside this span reads as `name`.
    fn reads(&self, span: Range<usize>, name: &str) -> bool {
        let inside = self.text.get(span).unwrap_or_default();
        if !inside.contains(&b'\\') {
            return inside == name.as_bytes();
        }
        let quoted = [b"\"", inside, b"\""].concat();
        serde_json::from_slice::<String>(&quoted).is_ok_and(|text| text == name)
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at)?.is_ascii_whitespace() {
            self.at = self.at.checked_add(1)?;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then_some(())?;
        self.at = self.at.checked_add(1)?;
        Some(())
    }

    /// After an element: takes a comma, and leaves the closing byte where it is.
    fn end(&mut self, close: u8) -> Option<()> {
        if self.peek()? == close {
            Some(())
        } else {
            self.take(b',')
        }
    }

    /// Reads a string and answers where its inside stands.
    fn string(&mut self) -> Option<Range<usize>> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at = self.at.checked_add(2)?,
                _ => self.at = self.at.checked_add(1)?,
            }
        }
        let end = self.at;
        self.at = end.checked_add(1)?;
        Some(start..end)
    }

    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth = depth.checked_add(1)?;
                    self.at = self.at.checked_add(1)?;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at = self.at.checked_add(1)?;
                }
                b',' | b':' => {
                    self.at = self.at.checked_add(1)?;
                    continue;
                }
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn scalar(&mut self) -> Option<()> {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at = self.at.checked_add(length)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, pointer: &str, expect: Option<&str>) {
        let found = string_at(text.as_bytes(), pointer).and_then(|span| text.get(span));
        assert_eq!(found, expect, "{pointer} in {text}");
    }

    #[test]
    fn the_string_at_a_pointer_is_found_where_it_stands() {
        let text = r#" { "a" : [ 1, {"b":"x\"y"}, "z" ], "c/d":{"~":"t"}, "e":{"f":[[],{}]} , "\u0067":"esc" } "#;
        check(text, "/a/1/b", Some(r#"x\"y"#));
        check(text, "/a/2", Some("z"));
        check(text, "/a/3", None);
        check(text, "/a/0", None);
        check(text, "/c~1d/~0", Some("t"));
        check(text, "/g", Some("esc"));
        check(text, "/e/f", None);
        check(text, "/e/f/5", None);
        check(text, "/nothing", None);
        check(text, "a", None);
        check("\"whole\"", "", Some("whole"));
        check("", "/a", None);
        check("{", "/a", None);
        check("{\"a", "/a", None);
    }

    #[test]
    fn members_of_a_name_are_found_however_deep() {
        let find = |text: &str| {
            let spans = members(text.as_bytes(), "t")?;
            let texts = spans
                .into_iter()
                .map(|span| text.get(span).unwrap().to_owned());
            Some(texts.collect::<Vec<_>>())
        };
        let text = r#"{ "a": [ {"t": "1"}, [], {"\u0074":"2\"", "x": -1.5e3} ], "t":null, "b": {"c":{"t":"3"}}, "d":"t" }"#;
        assert_eq!(find(text).unwrap(), ["1", r#"2\""#, "3"]);
        assert_eq!(find("\"t\"").unwrap(), [""; 0]);
        for wrong in [
            r#"{"t":1}"#,
            r#"{"t":{}}"#,
            r#"[{"t":["a"]}]"#,
            r#"{"t":true}"#,
        ] {
            assert_eq!(find(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn escaped_text_reads_back() {
        let text = "CANARY \"quoted\" \\ \n \u{e9}";
        let quoted = [b"\"".to_vec(), escape(text), b"\"".to_vec()].concat();
        assert_eq!(serde_json::from_slice::<String>(&quoted).unwrap(), text);
    }

    #[test]
    fn only_a_top_level_pointer_names_a_form_field() {
        assert!(is_member("/token", "token"));
        assert!(is_member("/a~1b", "a/b"));
        assert!(!is_member("/a/b", "b"));
        assert!(!is_member("token", "token"));
    }
}
