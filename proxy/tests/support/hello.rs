//! TLS client hellos, written byte by byte: for names, extensions and records that no library would send.

/// A client hello of TLS 1.3 and 1.2, as one handshake message without records.
pub(crate) fn message(name: Option<&str>, extra: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let entry = [&[0][..], &long(name.as_bytes())].concat();
        extensions.extend(extension(0, &long(&entry)));
    }
    // supported_groups, ec_point_formats, signature_algorithms, supported_versions, key_share
    extensions.extend(extension(10, &long(&[0, 23])));
    extensions.extend(extension(11, &short(&[0])));
    extensions.extend(extension(13, &long(&[4, 3, 8, 4])));
    extensions.extend(extension(43, &short(&[3, 4, 3, 3])));
    extensions.extend(extension(51, &long(&[])));
    for (kind, body) in extra {
        extensions.extend(extension(*kind, body));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(short(&[9; 32]));
    body.extend(long(&[0x13, 1, 0xc0, 0x2b]));
    body.extend(short(&[0]));
    body.extend(long(&extensions));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1][..], &length[1..], &body].concat()
}

/// A handshake message cut into records of at most so many bytes.
pub(crate) fn records(message: &[u8], most: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [&[22, 3, 1][..], &long(piece)].concat();
    message.chunks(most).flat_map(record).collect()
}

/// An `encrypted_client_hello` extension: outer, with a made-up configuration and payload.
pub(crate) fn encrypted() -> (u16, Vec<u8>) {
    let outer = [&[0, 0, 1, 0, 1, 42][..], &long(&[5; 32]), &long(&[6; 144])].concat();
    (0xfe0d, outer)
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &long(body)].concat()
}

fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}
