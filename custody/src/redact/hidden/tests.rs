//! What is dropped and what stays, in every way of writing, wherever the text is cut.

use proptest::prelude::*;

use super::*;

fn strip(text: &[u8], written: Written, size: usize) -> (Vec<u8>, u64) {
    let mut stage = HiddenText::new(written);
    let mut out = Vec::new();
    for chunk in text.chunks(size) {
        stage.push(chunk, &mut out);
    }
    stage.finish(&mut out);
    assert_eq!(stage.held(), 0);
    (out, stage.dropped())
}

#[track_caller]
fn check(written: Written, text: &str, expected: &str) {
    for size in [1, 2, 3, 5, 1000] {
        let (out, dropped) = strip(text.as_bytes(), written, size);
        assert_eq!(String::from_utf8_lossy(&out), expected, "chunks of {size}");
        assert_eq!(dropped > 0, text != expected, "chunks of {size}");
    }
}

#[test]
fn what_nobody_sees_is_dropped() {
    for hidden in [
        "\u{200b}",
        "\u{2060}",
        "\u{feff}",
        "\u{ad}",
        "\u{e0001}\u{e0041}\u{e007f}",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{1b}",
        "\u{7}",
        "\u{8}",
        "\0",
        "\u{7f}",
        "\u{9b}",
        "\u{85}",
        "\u{fe0f}",
        "\u{e0100}",
        "\u{200d}",
        "\u{3164}",
        "\u{2062}",
    ] {
        check(Written::Plain, &format!("pass{hidden}word"), "password");
    }
    check(
        Written::Plain,
        "\u{1b}[31mred\u{1b}]0;t\u{7}",
        "[31mred]0;t",
    );
}

#[test]
fn what_is_part_of_visible_writing_stays() {
    for text in [
        "tab\tline\r\nend",
        "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{2764}\u{fe0f}\u{200d}\u{1f525} 1\u{fe0f}\u{20e3}",
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645} \u{845b}\u{e0100}",
        "caf\u{e9} \u{4f60}\u{597d} \u{5e9}\u{5dc}\u{5d5}\u{5dd}",
    ] {
        check(Written::Plain, text, text);
    }
    // Only one selector, and only one joiner: a row of them is data.
    check(
        Written::Plain,
        "\u{1f600}\u{fe00}\u{fe01}\u{e0102}\u{e0103}x\u{4f60}\u{200d}\u{200c}\u{200d}y",
        "\u{1f600}\u{fe00}x\u{4f60}\u{200d}y",
    );
}

#[test]
fn escapes_are_read_as_their_kind_of_text_writes_them() {
    check(
        Written::Json,
        r#"{"a":"pass\u200bword\uDB40\uDC41\u001b[0m\b","b":"\\u200b \u00e9\ud83d\ude00 \"\/\n"}"#,
        r#"{"a":"password[0m","b":"\\u200b \u00e9\ud83d\ude00 \"\/\n"}"#,
    );
    check(
        Written::Markup,
        "a&#8203;b&#x200B;c&ZeroWidthSpace;d&lrm;e &amp; &#233; & &unknown; f&#x1b;",
        "abcde &amp; &#233; & &unknown; f",
    );
    check(
        Written::Markup,
        "a&#8203b&#x200B c&#0000000000008203;d&#x0000000000000200b;e&ic;f&it;g&NegativeVeryThinSpace;h&shyi &#82 &zwj &#8203",
        "ab cdefghi &#82 &zwj ",
    );
    // A backslash that begins no escape hides nothing behind it.
    check(Written::Json, "a\\\u{1b}b\\\u{200b}", "a\\b\\");
    let source = r#"let zero = "\u200b"; // &#8203;"#;
    check(Written::Plain, source, source);
}

#[test]
fn bytes_that_are_no_text_pass_but_for_controls() {
    let (out, _) = strip(b"\xff\xe9 \x9b31m \xe2\x28 \xc3", Written::Plain, 1);
    assert_eq!(out, b"\xff\xe9 31m \xe2\x28 \xc3");
    let (out, _) = strip(b"end \\ud83d", Written::Json, 3);
    assert_eq!(out, b"end \\ud83d");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_comes_out_the_same_however_it_is_cut(
        text in prop::collection::vec(prop_oneof![
            prop::sample::select(vec![
                "\u{200b}", "\\u200", "\\uDB40", "\\uDC41", "\\", "&#82", "&zwj;", "03;", "b", "1", "\u{fe0f}", "&#x",
                "0000000000000000000000000000000000000000", "&shy", "&NegativeThin", "Space;",
                "\u{1f600}", "\u{200d}", "\\\\", "\u{9b}", "&",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], 0..12),
        size in 1..9usize,
    ) {
        let text = text.concat();
        for written in [Written::Plain, Written::Json, Written::Markup] {
            let whole = strip(&text, written, usize::MAX);
            prop_assert_eq!(&whole, &strip(&text, written, size));
            if let Ok(text) = std::str::from_utf8(&whole.0) {
                let hidden = text.contains(['\u{1b}', '\u{200b}', '\u{9b}']);
                prop_assert!(!hidden);
            }
        }
    }
}
