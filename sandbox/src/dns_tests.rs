//! What the resolver answers, and what it must not.

use proptest::prelude::*;

use super::*;

fn query(name: &str, kind: u16, additional: &[u8]) -> Vec<u8> {
    let mut out = vec![
        0xab,
        0xcd,
        1,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(!additional.is_empty()),
    ];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1]);
    out.extend(additional);
    out
}

const OPT: [u8; 11] = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

fn allowed(host: &Host) -> bool {
    host.name().is_some_and(|name| name.ends_with("example"))
}

/// Code, number of answers and the data of the answer.
fn ask(table: &mut Synthetic, query: &[u8]) -> Option<(u16, u16, Vec<u8>)> {
    let reply = answer(query, &allowed, table)?;
    assert_eq!(reply[..2], query[..2]);
    assert_ne!(reply[2] & 0x80, 0);
    let answers = number(&reply, 6).unwrap();
    let data = match answers {
        0 => Vec::new(),
        _ => {
            let question = &reply[12..];
            let end = question.iter().position(|&byte| byte == 0).unwrap() + 5;
            let record = &question[end..];
            assert_eq!(record[..2], [0xC0, 12]);
            let length = usize::from(number(record, 10).unwrap());
            assert_eq!(record.len(), 12 + length);
            record[12..].to_vec()
        }
    };
    Some((number(&reply, 2).unwrap() & 15, answers, data))
}

#[track_caller]
fn check(name: &str, kind: u16, expect: (u16, u16, &[u8])) {
    for additional in [&[][..], &OPT] {
        let mut table = Synthetic::default();
        let (code, answers, data) = ask(&mut table, &query(name, kind, additional)).unwrap();
        assert_eq!((code, answers, data.as_slice()), expect, "{name} {kind}");
    }
}

#[test]
fn an_allowed_name_gets_an_address_of_ours_and_nothing_else() {
    check("api.example", 1, (0, 1, &[198, 18, 0, 1]));
    check("API.Example", 1, (0, 1, &[198, 18, 0, 1]));
    for other in [28, 65, 64, 16, 15, 12, 255] {
        check("api.example", other, (0, 0, &[]));
    }
    check("localhost", 1, (0, 1, &[127, 0, 0, 1]));
    check("app.localhost", 1, (0, 1, &[127, 0, 0, 1]));
    check(
        "localhost",
        28,
        (0, 1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    );
}

#[test]
fn every_other_name_is_refused_and_not_remembered() {
    for name in [
        "evil.test",
        "CANARY-sandbox-dns.evil.test",
        "192.0.2.1",
        "",
        "a b.example",
        "4.3.2.1.in-addr.arpa",
    ] {
        check(name, 1, (5, 0, &[]));
        check(name, 28, (5, 0, &[]));
    }
    let mut table = Synthetic::default();
    ask(&mut table, &query("evil.test", 1, &[])).unwrap();
    assert!(table.addresses.is_empty());
    let mut chaos = query("version.example", 1, &[]);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(ask(&mut table, &chaos).unwrap().0, 5);
}

#[test]
fn names_keep_their_addresses_and_addresses_their_names() {
    let mut table = Synthetic::default();
    let mut address = |name: &str| ask(&mut table, &query(name, 1, &[])).unwrap().2;
    assert_eq!(address("a.example"), [198, 18, 0, 1]);
    assert_eq!(address("b.example"), [198, 18, 0, 2]);
    assert_eq!(address("A.EXAMPLE"), [198, 18, 0, 1]);
    let name = |last: u8| {
        table
            .name(IpAddr::from([198, 18, 0, last]))
            .map(ToString::to_string)
    };
    assert_eq!(
        (name(1).as_deref(), name(2).as_deref()),
        (Some("a.example"), Some("b.example"))
    );
    assert_eq!(name(3), None);
}

#[test]
fn the_table_is_bounded_and_stays_in_its_block() {
    let mut table = Synthetic::default();
    let host = |n: u32| Host::parse(&format!("h{n}.example")).unwrap();
    for n in 0..NAMES_MAX {
        let address = table.address(&host(n)).unwrap().to_bits();
        assert_eq!(
            address & 0xFFFE_0000,
            Ipv4Addr::new(198, 18, 0, 0).to_bits()
        );
    }
    assert_eq!(table.address(&host(NAMES_MAX)), None);
    assert_eq!(table.address(&host(7)), Some(Ipv4Addr::new(198, 18, 0, 8)));
    assert_eq!(
        ask(&mut table, &query("one-more.example", 1, &[]))
            .unwrap()
            .0,
        2
    );
}

#[test]
fn malformed_queries_are_told_so_and_replies_are_not_answered() {
    let good = query("a.example", 1, &[]);
    let mut table = Synthetic::default();
    let mut with = |at: usize, byte: u8| {
        let mut query = good.clone();
        query[at] = byte;
        ask(&mut table, &query).map(|(code, _, _)| code)
    };
    assert_eq!(with(2, 0x81), None, "a reply");
    assert_eq!(with(2, 0x28), Some(4), "an update");
    for (at, byte) in [
        (5, 0),
        (5, 2),
        (7, 1),
        (9, 1),
        (11, 2),
        (11, 1),
        (12, 0xC0),
        (12, 64),
        (13, 0xFF),
        (13, b'.'),
    ] {
        assert_eq!(with(at, byte), Some(1), "byte {at} = {byte}");
    }
    for length in 12..good.len() {
        assert_eq!(
            ask(&mut table, &good[..length]).unwrap().0,
            1,
            "cut to {length}"
        );
    }
    for length in 0..12 {
        assert_eq!(answer(&good[..length], &allowed, &mut table), None);
    }
    let trailing = [&good[..], &[0]].concat();
    assert_eq!(ask(&mut table, &trailing).unwrap().0, 1);
    let long = query(&format!("{}example", "abcdefg.".repeat(32)), 1, &[]);
    assert_eq!(ask(&mut table, &long).unwrap().0, 1);
    assert_eq!(
        answer(&[0; QUERY_BYTES_MAX + 1], &allowed, &mut table),
        None
    );
}

#[test]
fn a_network_may_give_its_own_addresses_for_every_name_that_may_be_reached() {
    let always = ["10.203.0.2".parse().unwrap(), "fd77::2".parse().unwrap()];
    let mut table = Synthetic::always(&always);
    for name in ["a.example", "b.example"] {
        assert_eq!(
            ask(&mut table, &query(name, 1, &[])).unwrap(),
            (0, 1, vec![10, 203, 0, 2])
        );
        let (code, answers, data) = ask(&mut table, &query(name, 28, &[])).unwrap();
        assert_eq!((code, answers, data.len(), data[15]), (0, 1, 16, 2));
        assert_eq!(
            ask(&mut table, &query(name, 65, &[])).unwrap(),
            (0, 0, vec![])
        );
    }
    assert_eq!(ask(&mut table, &query("a.other", 1, &[])).unwrap().0, 5);
    let mut v4 = Synthetic::always(&always[..1]);
    assert_eq!(
        ask(&mut v4, &query("a.example", 28, &[])).unwrap(),
        (0, 0, vec![])
    );
}

proptest! {
    #[test]
    fn no_bytes_break_it_and_no_reply_outgrows_the_question(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let reply = answer(&bytes, &allowed, &mut Synthetic::default());
        prop_assert!(reply.is_none_or(|reply| reply.len() <= bytes.len() + 28));
    }

    #[test]
    fn no_change_to_a_good_query_breaks_it(at in 0usize..26, byte in any::<u8>()) {
        let mut bytes = query("api.example", 1, &[]);
        if let Some(slot) = bytes.get_mut(at) {
            *slot = byte;
        }
        let reply = answer(&bytes, &allowed, &mut Synthetic::default());
        prop_assert!(reply.is_none_or(|reply| number(&reply, 6).is_some_and(|answers| answers <= 1)));
    }
}
