//! What `[signers]` may say, and how each mistake reads.

use std::path::Path;

use exeat_types::Source;

use crate::settings::Settings;

/// The messages about a text, or the words of the signers that it declares.
fn read(text: &str) -> Result<Vec<String>, Vec<String>> {
    let source = Source::new("exeat.toml", text);
    let settings = Settings::parse(Path::new("exeat.toml"), &source).map_err(|report| {
        let report = report.to_string();
        assert!(!report.contains("CANARY"), "{report}");
        let message = |line: &str| line.strip_prefix("error: ").map(str::to_owned);
        report.lines().filter_map(message).collect::<Vec<_>>()
    })?;
    let signers = settings.signers.iter();
    Ok(signers
        .map(|(name, kind)| format!("{name}: {}", kind.word()))
        .collect())
}

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    assert_eq!(read(text).unwrap_err(), expect, "{text}");
}

#[test]
fn signers_are_read_and_credentials_name_them() {
    let text = r#"
[agents.claude]
[signers.app]
kind = "software"
secret = "sealed:signers/app"
[signers.card]
kind = "pkcs11"
module = "/usr/lib/softhsm/libsofthsm2.so"
token-label = "exeat"
label = "gate"
pin = "keyring:card-pin"
"#;
    assert_eq!(read(text).unwrap(), ["app: software", "card: pkcs11"]);
}

#[test]
fn mistakes_are_told_at_their_place_and_secrets_are_not_repeated() {
    check(
        "[signers.a]\nkind = \"softwre\"\n[signers.b]\n",
        &[
            "expected one of `software`, `pkcs11`, `tpm`, `aws-kms`, `gcp-kms`, `vault-transit`, `remote`, got `softwre`",
            "missing key `kind`",
        ],
    );
    check(
        "[signers.a]\nkind = \"software\"\nsecret = \"CANARY-a-key\"\n",
        &["a secret does not belong in this file"],
    );
    check(
        "[signers.a]\nkind = \"pkcs11\"\nmodule = \"libsofthsm2.so\"\ntoken-label = \"t\"\nlabel = \"k\"\n",
        &["the library of a device is code that the gate runs"],
    );
    check(
        "[signers.a]\nkind = \"pkcs11\"\nmodule = \"/m.so\"\ntoken-label = \"t\"\nlabel = \"k\"\npin = \"CANARY-1234\"\n",
        &["a secret does not belong in this file"],
    );
}

#[test]
fn a_credential_names_a_signer_that_is_there() {
    let credential =
        "[credentials.sig]\nkind = \"signature\"\nhosts = [\"a.example\"]\nsigner = \"ap\"\n";
    let messages = read(credential).unwrap_err();
    assert!(
        messages.contains(&"there is no signer `ap`".to_owned()),
        "{messages:?}"
    );
    let declared =
        format!("{credential}[signers.ap]\nkind = \"software\"\nsecret = \"sealed:ap\"\n");
    let messages = read(&declared).err().unwrap_or_default();
    assert!(
        !messages.iter().any(|message| message.contains("signer")),
        "{messages:?}"
    );
}

#[cfg(feature = "tpm")]
#[test]
fn a_tpm_is_reached_only_in_ways_that_are_known() {
    let with = |line: &str| format!("[signers.chip]\nkind = \"tpm\"\n{line}\n");
    for fine in [
        "",
        "tcti = \"device:/dev/tpmrm0\"",
        "tcti = \"swtpm:host=127.0.0.1,port=2321\"\nhandle = 0x81010001",
    ] {
        assert_eq!(read(&with(fine)).unwrap(), ["chip: tpm"], "{fine}");
    }
    for wrong in ["tcti = \"libevil.so\"", "tcti = \"swtpm:path=/run/s\""] {
        check(&with(wrong), &["a TPM is not reached like this"]);
    }
    check(
        &with("handle = 1"),
        &["this is no persistent handle of a TPM"],
    );
}
