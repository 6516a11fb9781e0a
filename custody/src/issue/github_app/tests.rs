//! A made-up GitHub: what calls are narrowed to, and what its answers mean.

use exeat_types::CredentialId;
use serde_json::json;

use super::*;
use crate::{
    issue::stand_in::{Nobody, issue, reply, want},
    jose::{self, Jwk},
};

fn repositories(words: &[&str]) -> Vec<Repository> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn permissions(pairs: &[(&str, &str)]) -> Permissions {
    let pairs = pairs
        .iter()
        .map(|(name, level)| ((*name).to_owned(), (*level).to_owned()));
    pairs.collect()
}

fn declared(words: &[&str]) -> GithubApp {
    let read = permissions(&[("contents", "read")]);
    let write = permissions(&[("contents", "write"), ("issues", "write")]);
    GithubApp {
        app: "Iv23CANARY".to_owned(),
        installation: 7,
        api: "https://api.github.test".parse().unwrap(),
        repositories: repositories(words),
        permissions: BTreeMap::from([("read".to_owned(), read), ("write".to_owned(), write)]),
    }
}

/// The words that a call is narrowed to, for an installation that is given these repositories.
fn words(given: &[&str], url: &str, category: &str) -> Vec<String> {
    let url: Url = url.parse().unwrap();
    let asked = Asked {
        origin: &url.origin,
        path: &url.target,
        tool: "any",
        category,
    };
    Scope::of(&declared(given), &asked).words()
}

#[track_caller]
fn check(given: &[&str], url: &str, category: &str, expect: &[&str]) {
    assert_eq!(words(given, url, category), expect, "{url}");
}

#[test]
fn a_call_is_narrowed_to_its_repository_and_to_what_its_tool_does() {
    let api = "https://api.github.test";
    let read = "permission contents=read";
    check(
        &["acme/*"],
        &format!("{api}/repos/Acme/Site/issues"),
        "read",
        &[read, "repository acme/site"],
    );
    check(
        &["*"],
        &format!("{api}/repos/acme/site"),
        "write",
        &[
            "permission contents=write",
            "permission issues=write",
            "repository acme/site",
        ],
    );
    check(
        &["acme/site"],
        "https://github.test/acme/site.git/info/refs",
        "read",
        &["git", read, "repository acme/site"],
    );
    check(
        &["acme/site"],
        "https://github.test/acme/site/git-receive-pack",
        "read",
        &["git", read, "repository acme/site"],
    );
    // Without a repository in the path: what is named, or all of the installation.
    check(
        &["acme/a", "acme/b"],
        &format!("{api}/search/issues"),
        "read",
        &[read, "repository acme/a", "repository acme/b"],
    );
    check(&["acme/a", "*"], &format!("{api}/graphql"), "read", &[read]);
}

#[test]
fn what_the_configuration_does_not_give_refuses() {
    let api = "https://api.github.test";
    let denied = |given: &[&str], url: &str, category| {
        let words = words(given, url, category);
        Scope::read(&words).unwrap_err()
    };
    assert_eq!(
        denied(&["acme/site"], &format!("{api}/repos/acme/other"), "read"),
        ["not granted: acme/other"]
    );
    assert_eq!(
        denied(&["acme/*"], &format!("{api}/repos/evil/site"), "read"),
        ["not granted: evil/site"]
    );
    assert_eq!(
        denied(&["*"], &format!("{api}/repos/acme/s%69te/x"), "read"),
        ["not granted: acme/s%69te"]
    );
    assert_eq!(
        denied(
            &["acme/*"],
            "https://github.test/evil/site.git/git-upload-pack",
            "read"
        ),
        ["not granted: evil/site"]
    );
    assert_eq!(
        denied(&["*"], &format!("{api}/repos/acme/site"), "delete"),
        ["not granted: permissions for `delete`"]
    );
}

#[test]
fn words_read_back_as_what_they_were_written_from() {
    let words = words(
        &["acme/*"],
        "https://api.github.test/repos/acme/site",
        "write",
    );
    assert_eq!(Scope::read(&words).unwrap().words(), words);
    assert!(Scope::read(&["anything".to_owned()]).is_err());
    for wrong in [
        "", "acme", "/site", "acme/", "acme/..", "acme/a b", "*/site",
    ] {
        assert!(wrong.parse::<Repository>().is_err(), "{wrong}");
    }
}

fn app() -> (Arc<dyn Issuer>, Jwk) {
    let key = SoftwareSigner::new_key(Algorithm::Rs256).unwrap();
    let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::from_key(&key).unwrap());
    let public = Jwk::of(&*signer).unwrap();
    let id: CredentialId = "app".parse().unwrap();
    let material = Material {
        id: &id,
        secret: None,
        signer: Some(&signer),
    };
    let made = declared(&["acme/*"]).make(material).unwrap();
    (made.issuer.unwrap(), public)
}

fn granted(repository: &str, level: &str) -> Reply {
    let body = json!({
        "token": "ghs_CANARY-installation",
        "expires_at": "1970-01-01T01:16:40Z",
        "permissions": { "metadata": "read", "contents": level },
        "repositories": [{ "full_name": repository, "id": 1 }],
    });
    reply(201, &body.to_string())
}

#[test]
fn a_signed_jwt_brings_a_token_for_what_was_asked() {
    let (issuer, key) = app();
    let mut want = want("https://api.github.test");
    want.narrowed = words(
        &["acme/*"],
        "https://api.github.test/repos/acme/site",
        "read",
    );
    let outside = Nobody::answering(vec![granted("Acme/Site", "read")]);
    let token = issue(&*issuer, &want, &outside).unwrap();
    assert!(token.secret.matches(b"ghs_CANARY-installation"));
    assert_eq!(token.presented, Presented::Bearer);
    assert_eq!(token.expires, Some(Timestamp::from_millis(4_600_000)));
    let asked = outside.asked();
    let url = "POST https://api.github.test/app/installations/7/access_tokens Bearer ";
    let jwt = asked[0].strip_prefix(url).unwrap();
    let claims = jose::verify(jwt, &[key]).unwrap().claims;
    assert_eq!(
        Value::Object(claims),
        json!({ "iss": "Iv23CANARY", "iat": 940, "exp": 1480 })
    );
    assert_eq!(
        outside.bodies()[0],
        r#"{"repositories":["site"],"permissions":{"contents":"read"}}"#
    );
}

#[test]
fn a_token_that_reaches_further_than_asked_is_not_used() {
    let (issuer, _) = app();
    let mut want = want("https://github.test");
    want.narrowed = words(
        &["acme/*"],
        "https://github.test/acme/site.git/info/refs",
        "read",
    );
    for (repository, level) in [
        ("evil/site", "read"),
        ("acme/other", "read"),
        ("acme/site", "write"),
    ] {
        let outside = Nobody::answering(vec![granted(repository, level)]);
        let failed = issue(&*issuer, &want, &outside).err();
        assert!(
            matches!(failed, Some(NotIssued::Scope(_))),
            "{repository} {level}"
        );
    }
    let outside = Nobody::answering(vec![granted("acme/site", "read")]);
    let token = issue(&*issuer, &want, &outside).unwrap();
    assert_eq!(
        token.presented,
        Presented::Basic("x-access-token".to_owned())
    );
}

#[test]
fn each_refusal_of_github_means_what_it_should() {
    let (issuer, _) = app();
    let mut want = want("https://api.github.test");
    want.narrowed = words(&["*"], "https://api.github.test/repos/acme/site", "read");
    let check = |status: u16, limited: &[(&'static str, &str)], expect: fn(&NotIssued) -> bool| {
        let mut reply = reply(status, "{}");
        for (name, value) in limited {
            reply
                .headers
                .insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let failed = issue(&*issuer, &want, &Nobody::answering(vec![reply]))
            .err()
            .unwrap();
        assert!(expect(&failed), "{status} {failed:?}");
    };
    let dead = |failed: &NotIssued| matches!(failed, NotIssued::Dead(_));
    let later = |failed: &NotIssued| matches!(failed, NotIssued::Unavailable(_));
    check(401, &[], dead);
    check(403, &[], |failed| matches!(failed, NotIssued::Suspended));
    check(408, &[], later);
    check(425, &[], later);
    check(404, &[], dead);
    check(422, &[], |failed| matches!(failed, NotIssued::Scope(_)));
    check(403, &[("x-ratelimit-remaining", "0")], later);
    check(429, &[], later);
    check(500, &[], later);
    check(302, &[], later);
    check(201, &[], later);
}
