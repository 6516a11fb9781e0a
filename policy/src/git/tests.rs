//! Hand-made pushes: what is refused, and what a pack does and does not prove. Real ones are in `tests/git_push.rs`.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

use super::{Format, Kind, Push, hex, parse_push};

const ZERO: &str = "0000000000000000000000000000000000000000";
const ONE: &str = "1111111111111111111111111111111111111111";
const TWO: &str = "2222222222222222222222222222222222222222";

fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

/// Commands with capabilities on the first, a flush, and what follows.
fn body(capabilities: &str, commands: &[String], rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        let tail = if index == 0 {
            format!("\0{capabilities}")
        } else {
            String::new()
        };
        body.extend(line(&format!("{command}{tail}")));
    }
    body.extend(b"0000");
    body.extend(rest);
    body
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A packed object: type, bytes between header and content, content.
fn object(kind: u8, between: &[u8], content: &[u8]) -> Vec<u8> {
    let mut size = content.len();
    let mut bytes = vec![kind << 4 | u8::try_from(size & 15).unwrap()];
    size >>= 4;
    while size > 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(u8::try_from(size & 127).unwrap());
        size >>= 7;
    }
    bytes.extend(between);
    bytes.extend(zlib(content));
    bytes
}

fn pack(objects: &[Vec<u8>], format: Format) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend(u32::try_from(objects.len()).unwrap().to_be_bytes());
    pack.extend(objects.concat());
    let sum = ring::digest::digest(format.algorithm(), &pack);
    pack.extend(sum.as_ref());
    pack
}

fn commit(parent: &str) -> String {
    let tree = if parent.len() == 64 {
        format!("{ZERO}{}", "0".repeat(24))
    } else {
        ZERO.to_owned()
    };
    format!("tree {tree}\nparent {parent}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nm\n")
}

fn id_of(commit: &str, format: Format) -> String {
    let whole = format!("commit {}\0{commit}", commit.len());
    hex(ring::digest::digest(format.algorithm(), whole.as_bytes()).as_ref())
}

#[track_caller]
fn kinds(body: &[u8]) -> Vec<Kind> {
    parse_push(body)
        .unwrap()
        .updates
        .iter()
        .map(|update| update.kind)
        .collect()
}

#[track_caller]
fn refused(body: &[u8], problem: &str) {
    let error = parse_push(body).unwrap_err();
    assert!(error.problem.contains(problem), "{error}");
}

fn update(old: &str, new: &str) -> Vec<String> {
    vec![format!("{old} {new} refs/heads/main")]
}

#[test]
fn a_probe_is_a_push_of_nothing() {
    assert_eq!(
        parse_push(b"0000"),
        Ok(Push {
            updates: vec![],
            options: vec![]
        })
    );
}

#[test]
fn creating_and_deleting_are_told_by_the_ids() {
    let empty = pack(&[], Format::Sha1);
    let commands = [
        format!("{ZERO} {ONE} refs/heads/a"),
        format!("{TWO} {ZERO} refs/heads/b\n"),
    ];
    let push = parse_push(&body(
        " report-status atomic agent=git/2",
        &commands,
        &empty,
    ))
    .unwrap();
    let seen: Vec<_> = push
        .updates
        .iter()
        .map(|update| (update.name.as_str(), update.kind.name()))
        .collect();
    assert_eq!(
        seen,
        [("refs/heads/a", "create"), ("refs/heads/b", "delete")]
    );
    assert_eq!(push.updates[1].old, TWO);
    assert_eq!(
        kinds(&body("", &[format!("{TWO} {ZERO} refs/heads/b")], b"")),
        [Kind::Delete]
    );
}

#[test]
fn only_a_chain_of_commits_in_the_pack_makes_an_update() {
    let first = commit(ONE);
    let second = commit(&id_of(&first, Format::Sha1));
    let (first_id, second_id) = (id_of(&first, Format::Sha1), id_of(&second, Format::Sha1));
    let both = pack(
        &[
            object(1, b"", second.as_bytes()),
            object(1, b"", first.as_bytes()),
        ],
        Format::Sha1,
    );
    assert_eq!(
        kinds(&body("", &update(ONE, &second_id), &both)),
        [Kind::Update]
    );
    assert_eq!(
        kinds(&body("", &update(&first_id, &second_id), &both)),
        [Kind::Update]
    );
    assert_eq!(
        kinds(&body("", &update(TWO, &second_id), &both)),
        [Kind::Force]
    );
    assert_eq!(
        kinds(&body("", &update(&second_id, &first_id), &both)),
        [Kind::Force]
    );
    let tag = vec![format!("{ONE} {second_id} refs/tags/v1")];
    assert_eq!(kinds(&body("", &tag, &both)), [Kind::Force]);
    let gap = pack(&[object(1, b"", second.as_bytes())], Format::Sha1);
    assert_eq!(
        kinds(&body("", &update(ONE, &second_id), &gap)),
        [Kind::Force]
    );
    let shallow = [
        line(&format!("shallow {first_id}")),
        body("", &update(ONE, &second_id), &both),
    ]
    .concat();
    assert_eq!(kinds(&shallow), [Kind::Force]);
    // A blob with the bytes of a commit is not one.
    let blob = pack(
        &[
            object(3, b"", first.as_bytes()),
            object(1, b"", second.as_bytes()),
        ],
        Format::Sha1,
    );
    assert_eq!(
        kinds(&body("", &update(ONE, &second_id), &blob)),
        [Kind::Force]
    );
    // A parent named in the message is not a parent.
    let liar = format!("tree {ZERO}\nauthor a <a> 0 +0000\nparent {ONE}\n\nparent {ONE}\n");
    let pack = pack(&[object(1, b"", liar.as_bytes())], Format::Sha1);
    assert_eq!(
        kinds(&body("", &update(ONE, &id_of(&liar, Format::Sha1)), &pack)),
        [Kind::Force]
    );
}

/// A delta that replaces the whole base.
fn delta(base: &str, result: &str) -> Vec<u8> {
    let size = |mut value: usize| {
        let mut bytes = Vec::new();
        while value > 127 {
            bytes.push(u8::try_from(value & 127 | 128).unwrap());
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    };
    let mut delta = [size(base.len()), size(result.len())].concat();
    for part in result.as_bytes().chunks(127) {
        delta.push(u8::try_from(part.len()).unwrap());
        delta.extend(part);
    }
    delta
}

#[test]
fn deltas_are_followed_inside_the_pack_in_any_order() {
    let format = Format::Sha1;
    let first = commit(ONE);
    let second = commit(&id_of(&first, format));
    let third = commit(&id_of(&second, format));
    let [one, two, three] = [&first, &second, &third].map(|commit| id_of(commit, format));
    let raw = |id: &str| super::parse_id(id.as_bytes(), format).unwrap();
    let plain = object(1, b"", first.as_bytes());
    let by_id = object(7, &raw(&one), &delta(&first, &second));
    let last = object(7, &raw(&two), &delta(&second, &third));
    for objects in [
        [plain.clone(), by_id.clone(), last.clone()],
        [last.clone(), by_id.clone(), plain.clone()],
        [by_id, plain.clone(), last.clone()],
    ] {
        let pack = pack(&objects, format);
        assert_eq!(
            kinds(&body("", &update(ONE, &three), &pack)),
            [Kind::Update]
        );
    }
    let back = u8::try_from(plain.len()).unwrap();
    let offset = [0x80 | (back >> 7).wrapping_sub(1) & 0x7f, back & 0x7f];
    let offset = if back > 127 {
        &offset[..]
    } else {
        &offset[1..]
    };
    let by_offset = object(6, offset, &delta(&first, &second));
    let chained = pack(&[plain.clone(), by_offset, last.clone()], format);
    assert_eq!(
        kinds(&body("", &update(ONE, &three), &chained)),
        [Kind::Update]
    );
    let outside = pack(&[plain, last], format);
    assert_eq!(
        kinds(&body("", &update(ONE, &three), &outside)),
        [Kind::Force]
    );
}

#[test]
fn sha256_repositories_are_read_too() {
    let format = Format::Sha256;
    let old = format!("{ONE}{}", "1".repeat(24));
    let next = commit(&old);
    let commands = vec![format!("{old} {} refs/heads/main", id_of(&next, format))];
    let pack = pack(&[object(1, b"", next.as_bytes())], format);
    assert_eq!(
        kinds(&body("object-format=sha256", &commands, &pack)),
        [Kind::Update]
    );
    refused(&body("", &commands, &pack), "40 hex digits");
    refused(
        &body("object-format=md5", &commands, &pack),
        "object format",
    );
    refused(
        &body("object-format=sha1 object-format=sha256", &commands, &pack),
        "object format",
    );
}

#[test]
fn push_options_are_read_when_announced() {
    let mut rest = line("ci.skip");
    rest.extend(b"0000");
    rest.extend(pack(&[], Format::Sha1));
    let push = parse_push(&body(
        "report-status push-options",
        &update(ZERO, ONE),
        &rest,
    ))
    .unwrap();
    assert_eq!(push.options, ["ci.skip"]);
}

#[test]
fn what_git_would_not_send_is_refused() {
    let empty = pack(&[], Format::Sha1);
    let good = update(ZERO, ONE);
    refused(b"", "cut off");
    refused(b"\x1f\x8b\x08\0\0\0", "pkt-line");
    refused(b"0001", "pkt-line");
    refused(b"0004", "pkt-line");
    refused(b"fff0", "cut off");
    refused(b"+123", "pkt-line");
    refused(&body("", &good, b""), "pack is missing");
    refused(&body("", &good, b"PACK"), "cut off");
    refused(&body("", &good, &[&empty[..], b"x"].concat()), "checksum");
    refused(&body("", &update(ZERO, ZERO), &empty), "nothing to nothing");
    refused(
        &body(
            "",
            &update(ZERO, &ONE.to_uppercase().replace('1', "A")),
            &empty,
        ),
        "hex digits",
    );
    refused(&body("", &update(ZERO, "11"), &empty), "hex digits");
    refused(
        &body("", &[good.clone(), good.clone()].concat(), &empty),
        "twice",
    );
    refused(&line("push-cert\0 x\n"), "signed");
    refused(&line("x"), "expected an old id");
    let second = [
        good[0].clone(),
        format!("{ZERO} {ONE} refs/heads/b\0atomic"),
    ];
    refused(&body("", &second, &empty), "second list");
    for name in [
        "HEAD",
        "main",
        "refs/",
        "refs//a",
        "refs/heads/",
        "refs/heads/a..b",
        "refs/heads/.a",
        "refs/heads/a.lock",
        "refs/heads/a b",
        "refs/heads/a\n\n",
        "refs/heads/a~1",
        "refs/heads/@{u}",
        "refs/heads/a.",
        "refs/heads/a*",
        "refs/heads/../a",
        "refs/heads/a\\b",
        "refs/heads/\u{7f}",
    ] {
        refused(&body("", &[format!("{ZERO} {ONE} {name}")], &empty), "name");
    }
}

#[test]
fn broken_packs_are_refused() {
    let format = Format::Sha1;
    let push = |objects: &[Vec<u8>]| body("", &update(ZERO, ONE), &pack(objects, format));
    let text = commit(ONE);
    refused(&push(&[object(0, b"", b"x")]), "unknown type");
    refused(&push(&[object(5, b"", b"x")]), "unknown type");
    refused(&push(&[object(6, &[0], b"x")]), "outside the pack");
    refused(&push(&[object(6, &[0x7f], b"x")]), "outside the pack");
    refused(&push(&[b"\x31junk".to_vec()]), "zlib");
    refused(&push(&[vec![0x3f, 0x78, 0x9c]]), "cut off");
    refused(
        &push(&[[&[0x31][..], &zlib(b"xyz")].concat()]),
        "larger than it says",
    );
    refused(
        &push(&[[&[0x35][..], &zlib(b"xyz")].concat()]),
        "smaller than it says",
    );
    refused(
        &push(&[[
            &[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
            &zlib(b"xyz"),
        ]
        .concat()]),
        "out of bounds",
    );
    refused(&push(&[object(1, b"", b"no tree")]), "without a tree");
    refused(
        &push(&[object(
            1,
            b"",
            text.replace("parent 1", "parent x").as_bytes(),
        )]),
        "hex digits",
    );
    refused(
        &push(&[[object(3, b"", b"x"), b"more".to_vec()].concat()]),
        "behind its last object",
    );
    let mut version = pack(&[], format);
    version[7] = 3;
    refused(&body("", &update(ZERO, ONE), &version), "version 2");
    let mut many = b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec();
    many.extend([0; 20]);
    refused(&body("", &update(ZERO, ONE), &many), "objects");
    let bomb = zlib(&vec![0; 1 << 20]);
    let objects: Vec<_> = (0..300)
        .map(|_| [&[0xb0, 0x80, 0x80, 0x04][..], &bomb].concat())
        .collect();
    refused(&push(&objects), "inflates to more");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn changed_bytes_never_panic_and_never_turn_a_rewrite_into_an_update(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let first = commit(ONE);
        let id = id_of(&first, Format::Sha1);
        let second = commit(&id);
        let new = id_of(&second, Format::Sha1);
        let raw = super::parse_id(id.as_bytes(), Format::Sha1).unwrap();
        let objects = [object(1, b"", first.as_bytes()), object(7, &raw, &delta(&first, &second))];
        let mut pack = pack(&objects, Format::Sha1);
        let end = pack.len() - 20;
        for (at, byte) in changes {
            pack[at.index(end)] = byte;
        }
        let sum = ring::digest::digest(Format::Sha1.algorithm(), &pack[..end]);
        pack[end..].copy_from_slice(sum.as_ref());
        if let Ok(push) = parse_push(&body("", &update(TWO, &new), &pack)) {
            prop_assert!(push.updates.iter().all(|update| update.kind == Kind::Force));
        }
    }
}
