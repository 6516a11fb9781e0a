//! What is wrong with a credential that is obtained, signed or shown is said at its place, and no key is repeated.

use std::path::Path;

use exeat_types::Source;

use crate::settings::Settings;

/// What is wrong with a credential of these keys; nothing if it loads.
fn told(kind: &str, more: &str) -> String {
    let text = format!(
        "[agents.claude]\n[credentials.it]\nkind = \"{kind}\"\nhosts = [\"a.example\"]\nsecret = \"sealed:it\"\n{more}\n"
    );
    let source = Source::new("exeat.toml", &text);
    match Settings::parse(Path::new("exeat.toml"), &source) {
        Ok(_) => String::new(),
        Err(report) => report.to_string(),
    }
}

#[track_caller]
fn check(kind: &str, more: &str, expect: &str) {
    let told = told(kind, more);
    assert!(told.contains(expect), "{more}: {told}");
    assert!(!expect.is_empty() || told.is_empty(), "{more}: {told}");
}

#[test]
fn a_service_account_has_what_its_form_needs() {
    let check = |more: &str, expect: &str| check("gcp-service-account", more, expect);
    check("scopes = [\"a\"]", "");
    check("form = \"identity\"\naudience = \"https://b.example\"", "");
    check("form = \"self-signed\"", "");
    check("", "an access token has `scopes`");
    check("form = \"identity\"", "an identity token has `audience`");
    check(
        "form = \"access\"\nscopes = [\"a\"]\naudience = \"b\"",
        "does not fit its scopes and audience",
    );
    check("form = \"refresh\"\nscopes = [\"a\"]", "expected one of");
    check(
        "scopes = [\"a\"]\ntoken-endpoint = \"http://b.example/token\"",
        "expected `https`",
    );
}

#[test]
fn an_app_names_its_repositories_and_levels() {
    let whole = "app = \"a\"\ninstallation = 7\n";
    let check = |more: &str, expect: &str| check("github-app", &format!("{whole}{more}"), expect);
    check("repositories = [\"acme/*\"]", "");
    check("", "missing key `repositories`");
    check("repositories = []", "without repositories can do nothing");
    check("repositories = [\"acme\"]", "expected `OWNER/NAME`");
    check(
        "repositories = [\"*\"]\npermissions = { read = { contents = \"all\" } }",
        "expected one of `read`, `write`, `admin`",
    );
    check(
        "repositories = [\"*\"]\napi = \"api.github.com\"",
        "expected `https://` or `http://` and a host",
    );
}

#[test]
fn a_registry_names_its_token_service() {
    check(
        "registry",
        "username = \"a\"\nrealm = \"https://b.example/token\"",
        "",
    );
    check("registry", "username = \"a\"", "missing key `realm`");
    check(
        "registry",
        "realm = \"https://b.example/token\"",
        "missing key `username`",
    );
}

#[test]
fn a_signature_covers_something_and_ends_soon() {
    let check = |more: &str, expect: &str| check("signature", more, expect);
    check("key-id = \"a\"", "");
    check("components = []", "a signature over nothing");
    check("components = [\"@status\"]", "expected `@method`");
    check(
        "components = [\"authorization\"]",
        "this field is not signed",
    );
    check("lifetime-secs = 86400", "expected 1 to 3600 seconds");
    check("label = \"Sig 1\"", "expected a name in lower case");
    check("profile = \"web-bot-auth\"", "missing key `agent`");
    check(
        "profile = \"web-bot-auth\"\nagent = \"http://bot.example\"",
        "the `https` URL under which the keys are published",
    );
    check(
        "profile = \"web-bot-auth\"\nagent = \"https://bot.example\"\ncomponents = [\"@path\"]",
        "unknown key `components`",
    );
}

#[test]
fn an_entitlement_names_public_keys_and_a_private_one_is_not_repeated() {
    let key = "x = \"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"";
    let whole = |keys: &str| {
        format!("format = \"sd-jwt\"\nissuer = \"https://b.example\"\nissuer-keys = [{keys}]\n")
    };
    let check = |more: &str, expect: &str| check("entitlement", more, expect);
    let public = whole(&format!("{{ kty = \"OKP\", crv = \"Ed25519\", {key} }}"));
    check(&public, "");
    check(
        &format!("{public}header = \"x-licence\"\nunknown-status = \"prompt\""),
        "",
    );
    check(
        &format!("{public}unknown-status = \"allow\""),
        "expected one of",
    );
    check(&whole(""), "expected at least one key");
    check(&whole("{ kty = \"oct\" }"), "expected a key of type");
    check("format = \"sd-jwt\"", "missing key `issuer-keys`");
    let private = whole(&format!(
        "{{ kty = \"OKP\", crv = \"Ed25519\", {key}, d = \"CANARY-private-number\" }}"
    ));
    let told = told("entitlement", &private);
    assert!(told.contains("this one is private"), "{told}");
    assert!(!told.contains("CANARY"), "{told}");
}
