//! What a fuzzer would try on the rules of tools, tried a little in every run: fragments of everything that matters, in
//! any order and cut anywhere.

use proptest::prelude::*;

#[path = "../../fuzz/targets/response_text.rs"]
mod response_text;

const FRAGMENTS: [&[u8]; 34] = [
    b"CANARY-fuzz-text",
    b"CANARY-",
    b"fuzz-text",
    b"4111111111111111",
    b"4111 1111 ",
    b"1111 1111",
    b"078-05-1120",
    b"DE89370400440532013000",
    b"jane@example.org",
    b"@",
    b".",
    b" ",
    b"-",
    b"\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"\\u200b",
    b"\\uDB40",
    b"\\uDC41",
    b"\\u001b",
    b"\x1b[0m",
    b"\xe2\x80\x8b",
    b"\xe2\x80",
    b"\xf3\xa0\x81\x81",
    b"&#8203;",
    b"&zwj;",
    b"data: {\"d\":\"",
    b"\"}\n\n",
    b"{\"c\":{\"t\":\"",
    b"\"}}\n",
    b"data: {\"type\":\"x_stop\"}\n\n",
    b"data: [DONE]\n\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mixture_brings_a_secret_out_or_depends_on_how_it_is_cut(
        size in 0..40u8,
        kind in any::<u8>(),
        parts in prop::collection::vec(prop_oneof![
            6 => prop::sample::select(FRAGMENTS.to_vec()).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ], 0..14),
    ) {
        let mut bytes = vec![size, kind];
        bytes.extend(parts.concat());
        response_text::run(&bytes);
    }
}
