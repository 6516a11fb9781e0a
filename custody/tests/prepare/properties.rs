//! The same for any text around the placeholder, and for any cut of a stream.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use exeat_custody::{Refused, Scan};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proptest::{prelude::*, sample};

use crate::world::{call, custody, foreign, github, own};

/// How a placeholder can be written.
fn writings() -> impl Strategy<Value = fn(&str) -> String> {
    let plain: fn(&str) -> String = str::to_owned;
    let percent: fn(&str) -> String =
        |text| text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex: fn(&str) -> String = |text| text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64: fn(&str) -> String = |text| BASE64_STANDARD.encode(text);
    let json: fn(&str) -> String =
        |text| text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    sample::select(vec![plain, percent, hex, base64, json])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn wherever_a_placeholder_is_planted_no_secret_leaves(
        before in "[ -~]{0,20}",
        after in "[ -~]{0,20}",
        write in writings(),
        whose in 0..3_usize,
        place in 0..4_usize,
    ) {
        let custody = custody();
        let names = [own(&custody, "github"), own(&custody, "admin"), foreign(&custody, "github")];
        let planted = format!("{before}{}{after}", write(&names[whose]));
        let in_query = utf8_percent_encode(&planted, NON_ALPHANUMERIC).to_string();
        let call = match place {
            0 => github().path(format!("/a/{in_query}")),
            1 => github().query(format!("q={in_query}")),
            2 => github().body(planted),
            _ => github().header("x-note", planted),
        };
        let refused = call.prepare(&custody).err();
        prop_assert!(matches!(refused, Some(Refused::Misused { .. })), "{refused:?}");
        let told = refused.unwrap().to_string();
        prop_assert!(names.iter().all(|name| !told.contains(name.as_str())));
    }

    #[test]
    fn text_without_placeholder_leaves_as_it_came(
        path in "/[a-z0-9/%._-]{0,40}",
        value in "[ -~]{0,60}",
        query in "[a-z0-9=&%+.]{0,60}",
        body in "\\PC{0,80}",
    ) {
        let call = github().path(path).query(query).header("x-note", value.trim().to_owned()).body(body);
        let prepared = call.prepare(&custody()).unwrap();
        prop_assert!(prepared.query.is_none() && prepared.body.is_none());
        prop_assert_eq!(prepared.headers.len(), 1);
    }

    #[test]
    fn a_streamed_body_is_stopped_wherever_it_is_cut(
        before in proptest::collection::vec(any::<u8>(), 0..700),
        after in proptest::collection::vec(any::<u8>(), 0..700),
        write in writings(),
        cuts in proptest::collection::vec(1..300_usize, 1..20),
    ) {
        let custody = custody();
        let ours = write(&own(&custody, "github"));
        let with = [before.as_slice(), ours.as_bytes(), after.as_slice()].concat();
        let without = [before.as_slice(), after.as_slice()].concat();
        let passes = |body: &[u8]| {
            let mut scan = Scan::new(custody.watch());
            let (mut rest, mut sizes) = (body, cuts.iter().cycle());
            while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                if scan.push(chunk).is_err() {
                    return scan.push(b"").is_ok();
                }
                rest = tail;
            }
            true
        };
        prop_assert!(!passes(&with));
        prop_assert!(passes(&without));
    }

    #[test]
    fn a_query_key_is_the_only_one_of_its_name(query in "(key|q|k%65y|)(=[a-z0-9]{0,5})?(&(key|q|k%65y)(=[a-z]{0,5})?){0,5}") {
        let sent = call("https://maps.example", Some("maps")).query(query).sent(&custody()).query.unwrap();
        let keys: Vec<_> = sent
            .split('&')
            .filter(|pair| percent_decode_str(pair.split('=').next().unwrap()).decode_utf8_lossy() == "key")
            .collect();
        prop_assert_eq!(keys, ["key=CANARY%2Fprepare%26maps%3D%221%22"]);
    }
}
