//! Against a naive reference: words whose kind is known, in any order, cut anywhere.

use proptest::prelude::*;

use super::*;

/// Words, and what is left of each.
const WORDS: [(&str, &str); 30] = [
    ("4111111111111111", "[redacted:card]"),
    ("4111 1111 1111 1111", "[redacted:card]"),
    ("5555-5555-5555-4444", "[redacted:card]"),
    ("3782 822463 10005", "[redacted:card]"),
    ("6011111111111117", "[redacted:card]"),
    ("30569309025904", "[redacted:card]"),
    ("4111111111111112", "4111111111111112"),
    ("9111111111111111", "9111111111111111"),
    ("41111111111111111111111", "41111111111111111111111"),
    ("a4111111111111111", "a4111111111111111"),
    ("4111111111111111a", "4111111111111111a"),
    ("4111 1111-1111 1111", "4111 1111-1111 1111"),
    ("1762000000000", "1762000000000"),
    ("078-05-1120", "[redacted:ssn]"),
    ("219 09 9999", "[redacted:ssn]"),
    ("000-12-3456", "000-12-3456"),
    ("666-12-3456", "666-12-3456"),
    ("900-12-3456", "900-12-3456"),
    ("123-00-4567", "123-00-4567"),
    ("123-45-0000", "123-45-0000"),
    ("1-123-45-6789", "1-123-45-6789"),
    ("DE89370400440532013000", "[redacted:iban]"),
    ("GB29 NWBK 6016 1331 9268 19", "[redacted:iban]"),
    ("DE89370400440532013001", "DE89370400440532013001"),
    ("QQ89370400440532013000", "QQ89370400440532013000"),
    ("jane.doe+x@mail.example.org", "[redacted:email]"),
    ("jane@example", "jane@example"),
    ("@handle", "@handle"),
    (
        "550e8400-e29b-41d4-a716-446655440000",
        "550e8400-e29b-41d4-a716-446655440000",
    ),
    ("plain", "plain"),
];

/// What may stand between two words; none of it makes one word of them.
const BETWEEN: [&str; 5] = ["; ", "\n", "|", "\t", " / "];

fn redact(text: &[u8], written: Written, chunks: &[usize]) -> (String, PiiStream) {
    let mut stream = PiiStream::new(&PiiKind::ALL, written);
    let (mut out, mut at) = (Vec::new(), 0);
    let mut places: Vec<usize> = chunks
        .iter()
        .map(|place| place % (text.len() + 1))
        .collect();
    places.push(text.len());
    places.sort_unstable();
    for place in places {
        stream.push(&text[at..place], &mut out);
        at = place;
    }
    stream.finish(&mut out);
    assert_eq!(stream.held(), 0);
    (String::from_utf8_lossy(&out).into_owned(), stream)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn words_are_judged_as_the_reference_says_wherever_the_text_is_cut(
        picked in prop::collection::vec((0..WORDS.len(), 0..BETWEEN.len()), 0..12),
        chunks in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let (mut text, mut expected) = (String::new(), String::new());
        for (word, between) in picked {
            text.push_str(WORDS[word].0);
            expected.push_str(WORDS[word].1);
            text.push_str(BETWEEN[between]);
            expected.push_str(BETWEEN[between]);
        }
        let (out, stream) = redact(text.as_bytes(), Written::Plain, &chunks);
        prop_assert_eq!(&out, &expected);
        let found = u64::try_from(expected.matches("[redacted:").count()).unwrap();
        prop_assert_eq!(stream.hits().values().sum::<u64>(), found);
    }

    #[test]
    fn any_text_comes_out_the_same_however_it_is_cut(
        text in "[0-9 @.a-zA-Z\\\\\"-]{0,80}",
        chunks in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        for written in [Written::Plain, Written::Json] {
            let (whole, _) = redact(text.as_bytes(), written, &[]);
            prop_assert_eq!(&whole, &redact(text.as_bytes(), written, &chunks).0);
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let every: Vec<usize> = (0..text.len()).collect();
    for chunks in [&[][..], &every] {
        assert_eq!(redact(text.as_bytes(), Written::Json, chunks).0, expected);
    }
}

#[test]
fn json_stays_json() {
    check(
        r#"{"card":4111111111111111,"n":[4111111111111111,1]}"#,
        r#"{"card":"[redacted:card]","n":["[redacted:card]",1]}"#,
    );
    check(
        r#"{"t":"call\n4111111111111111, or\tjane@example.org","u":"\u00e94111111111111111 \\"}"#,
        r#"{"t":"call\n[redacted:card], or\t[redacted:email]","u":"\u00e9[redacted:card] \\"}"#,
    );
}

#[test]
fn nothing_is_held_at_the_end_of_an_event() {
    let mut stream = PiiStream::new(&PiiKind::ALL, Written::Json);
    for event in ["data: 4111\n\n", "data: jane@exa\n\n", "data: DE8937\n\n"] {
        let mut out = Vec::new();
        stream.push(event.as_bytes(), &mut out);
        assert_eq!((out.as_slice(), stream.held()), (event.as_bytes(), 0));
    }
}
