//! `oauth`: tokens of an authorization server.

use std::{path::Path, sync::Arc};

use exeat_custody::{
    Kind, Landing, Url,
    oauth::{ClientAuth, Dpop, Endpoints, Flow, Oauth, Subject},
};
use exeat_types::{
    Origin, Report,
    config::{Item, Table},
};

use super::{
    super::{
        files::read_source,
        mask,
        raw::{text, texts},
    },
    origin,
};

/// The type of a token to exchange when nothing else is said (RFC 8693 section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// Parameters of an authorization request that have keys of their own, or are nobody's to choose.
const OURS: [&str; 14] = [
    "audience",
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// How tokens come about, without what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    AuthorizationCode,
    Device,
    ClientCredentials,
    JwtBearer,
    TokenExchange,
}

const GRANTS: [(&str, Word); 5] = [
    ("authorization-code", Word::AuthorizationCode),
    ("device", Word::Device),
    ("client-credentials", Word::ClientCredentials),
    ("jwt-bearer", Word::JwtBearer),
    ("token-exchange", Word::TokenExchange),
];

pub(super) fn oauth(table: &Table<'_>, kind: &Item<'_>, report: &mut Report) -> Option<Kind> {
    let client_id = table.need("client-id", report);
    let client_id = client_id.and_then(|item| item.text(report));
    let flow = flow(table, report);
    let auth = auth(table, report);
    let (issuer, protected_resource) = (url(table, "issuer", report), {
        url(table, "protected-resource", report)
    });
    let endpoints = endpoints(table, report);
    let known = issuer.is_some() || protected_resource.is_some() || endpoints.token.is_some();
    if !known {
        kind.problem(report, "it is not said where tokens come from")
            .help("name its `issuer`, such as `issuer = \"https://accounts.google.com\"`, or its `token-endpoint`");
        return None;
    }
    let landing = landing(table, report);
    let dpop = dpop(table, report);
    let certificate = table.get("certificate");
    let certificate = certificate.map(|item| certificate_of(&item, report));
    if auth == Some(ClientAuth::Mtls) && certificate.is_none() {
        kind.problem(report, "mutual TLS needs a `certificate`")
            .help("the PEM file of the client's certificate; its key is `secret` or `signer`");
        return None;
    }
    let words = |key, report: &mut Report| -> Vec<String> {
        let words = texts(table, key, report).into_iter();
        words.map(|word| word.value).collect()
    };
    let oauth = Oauth {
        issuer,
        protected_resource,
        endpoints,
        token_hosts: token_hosts(table, report),
        client_id: client_id?.to_owned(),
        auth: auth?,
        flow: flow?,
        scopes: words("scopes", report),
        resources: words("resource", report),
        audience: text(table, "audience", report),
        dpop: dpop?,
        pushed: table.get("par").and_then(|item| item.flag(report)) == Some(true),
        landing: landing?,
        parameters: parameters(table, report),
        key_id: text(table, "key-id", report),
        certificate: match certificate {
            Some(read) => Some(read?),
            None => None,
        },
    };
    Some(Kind::Made(Arc::new(oauth)))
}

/// A certificate in PEM: itself, or the name of a file that lies beside the configuration.
pub(in crate::settings) fn certificate_of(item: &Item<'_>, report: &mut Report) -> Option<String> {
    let text = item.text(report)?;
    if text.trim_start().starts_with("-----BEGIN CERTIFICATE-----") {
        return Some(text.to_owned());
    }
    let folder = Path::new(&*item.source().name).parent();
    match read_source(&folder.unwrap_or(Path::new("")).join(text)) {
        Ok(source) => Some((*source.text).to_owned()),
        Err(_unread) => {
            item.problem(report, format!("cannot read the certificate `{text}`"))
                .help("expected PEM, or a PEM file beside this one that nobody else can change");
            None
        }
    }
}

fn flow(table: &Table<'_>, report: &mut Report) -> Option<Flow> {
    let word = table.need("grant", report)?.word(report, &GRANTS)?;
    match word {
        Word::AuthorizationCode => Some(Flow::AuthorizationCode),
        Word::Device => Some(Flow::Device),
        Word::ClientCredentials => Some(Flow::ClientCredentials),
        Word::JwtBearer => {
            let subject = table.need("subject", report)?.text(report)?;
            Some(Flow::JwtBearer {
                subject: subject.to_owned(),
            })
        }
        Word::TokenExchange => {
            let subjects = [
                ("secret", Word::TokenExchange),
                ("authorization-code", Word::AuthorizationCode),
                ("device", Word::Device),
                ("client-credentials", Word::ClientCredentials),
            ];
            let subject = table.need("subject-token", report)?;
            let subject = match subject.word(report, &subjects)? {
                Word::AuthorizationCode => Subject::Own(Box::new(Flow::AuthorizationCode)),
                Word::Device => Subject::Own(Box::new(Flow::Device)),
                Word::ClientCredentials => Subject::Own(Box::new(Flow::ClientCredentials)),
                Word::JwtBearer | Word::TokenExchange => Subject::Secret,
            };
            let subject_type = text(table, "subject-token-type", report);
            Some(Flow::TokenExchange {
                subject,
                subject_type: subject_type.unwrap_or_else(|| ACCESS_TOKEN.to_owned()),
                requested_type: text(table, "requested-token-type", report),
            })
        }
    }
}

fn auth(table: &Table<'_>, report: &mut Report) -> Option<ClientAuth> {
    let words = [
        ("none", ClientAuth::None),
        ("basic", ClientAuth::Basic),
        ("post", ClientAuth::Post),
        ("private-key-jwt", ClientAuth::PrivateKeyJwt),
        ("mtls", ClientAuth::Mtls),
    ];
    table.need("auth", report)?.word(report, &words)
}

fn endpoints(table: &Table<'_>, report: &mut Report) -> Endpoints {
    let mut endpoint = |key| table.get(key).and_then(|item| item.parse::<Url>(report));
    Endpoints {
        authorization: endpoint("authorization-endpoint"),
        token: endpoint("token-endpoint"),
        device: endpoint("device-endpoint"),
        pushed: endpoint("par-endpoint"),
        revocation: endpoint("revocation-endpoint"),
        introspection: endpoint("introspection-endpoint"),
    }
}

/// An identifier that is a URL; it is kept as it is written, as it is compared character by character.
fn url(table: &Table<'_>, key: &'static str, report: &mut Report) -> Option<String> {
    let item = table.get(key)?;
    item.parse::<Url>(report)?;
    item.text(report).map(str::to_owned)
}

fn token_hosts(table: &Table<'_>, report: &mut Report) -> Vec<Origin> {
    let hosts = table.get("token-hosts").map(|item| item.items(report));
    let hosts = hosts.unwrap_or_default();
    let read = hosts.iter().filter_map(|item| origin(item, report));
    read.map(|origin| origin.value).collect()
}

fn dpop(table: &Table<'_>, report: &mut Report) -> Option<Dpop> {
    let Some(item) = table.get("dpop") else {
        return Some(Dpop::Off);
    };
    if item.text(&mut Report::new()).is_some() {
        return item.word(report, &[("required", Dpop::Required)]);
    }
    item.flag(report)
        .map(|on| if on { Dpop::Asked } else { Dpop::Off })
}

/// A path, or a whole URL on loopback where the server wants to know host or port.
fn landing(table: &Table<'_>, report: &mut Report) -> Option<Landing> {
    let usual = Landing {
        host: "127.0.0.1".to_owned(),
        port: None,
        path: "/callback".to_owned(),
    };
    let Some(item) = table.get("redirect") else {
        return Some(usual);
    };
    let text = item.text(report)?;
    if text.starts_with('/') && !text.starts_with("//") && !text.contains(['?', '#']) {
        return Some(Landing {
            path: text.to_owned(),
            ..usual
        });
    }
    let read = text.parse::<Url>().ok().filter(|url| {
        let host = url.origin.host.to_string();
        text.starts_with("http://") && (host == "localhost" || host == "127.0.0.1")
    });
    let Some(url) = read.filter(|url| !url.target.contains('?')) else {
        item.problem(report, "expected a path or a URL on loopback")
            .help("such as `/callback` or `http://127.0.0.1:8765/callback`");
        return None;
    };
    // A URL without a port leaves it open (RFC 8252 section 7.3): the server takes any.
    let port = (url.origin.port != 80).then_some(url.origin.port);
    Some(Landing {
        host: url.origin.host.to_string(),
        port,
        path: url.target,
    })
}

/// What a server wants to be told besides, such as Google's `access_type`.
fn parameters(table: &Table<'_>, report: &mut Report) -> Vec<(String, String)> {
    let inner = table.get("authorization-parameters");
    let Some(inner) = inner.and_then(|item| item.table(report)) else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for (name, span, item) in inner.entries() {
        if OURS.contains(&name) || mask::is_secret_key(name) {
            let problem = format!("`{name}` is not for the configuration to choose here");
            report.at(inner.source(), span, problem);
        } else if let Some(value) = item.text(report) {
            read.push((name.to_owned(), value.to_owned()));
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use exeat_types::{Source, config::Document};

    use super::*;

    const HEAD: &str = "kind = \"oauth\"\nclient-id = \"c\"\ngrant = \"authorization-code\"\n";

    /// What it reads, or what is wrong with it.
    fn parsed(text: &str) -> Result<String, String> {
        let source = Source::new("exeat.toml", text);
        let mut report = Report::new();
        let document = Document::parse(&source, &mut report);
        let table = document.root();
        let kind = table.get("kind").unwrap();
        let read = oauth(&table, &kind, &mut report);
        table.finish(&mut report);
        match read.filter(|_| report.is_empty()) {
            Some(kind) => Ok(format!("{kind:?}")),
            None => Err(report.to_string()),
        }
    }

    #[track_caller]
    fn refuses(more: &str, expect: &str) {
        let told = parsed(&format!("{HEAD}{more}")).unwrap_err();
        assert!(told.contains(expect), "{more}: {told}");
    }

    #[track_caller]
    fn reads(more: &str, expect: &str) {
        let read = parsed(&format!(
            "{HEAD}auth = \"none\"\nissuer = \"https://as.test\"\n{more}"
        ));
        let read = read.unwrap_or_else(|told| panic!("{more}: {told}"));
        assert!(read.contains(expect), "{more}: {read}");
    }

    #[test]
    fn what_is_wrong_is_said_at_its_place() {
        refuses("issuer = \"https://as.test\"", "missing key `auth`");
        refuses("auth = \"none\"", "it is not said where tokens come from");
        let whole = "auth = \"none\"\nissuer = \"https://as.test\"\n";
        let refuses = |more: &str, expect: &str| refuses(&format!("{whole}{more}"), expect);
        refuses("issuer-url = \"x\"", "unknown key `issuer-url`");
        refuses(
            "token-endpoint = \"http://as.test/token\"",
            "expected `https`",
        );
        refuses("dpop = \"always\"", "expected one of `required`");
        for wrong in [
            "callback",
            "https://127.0.0.1/x",
            "http://evil.test/x",
            "http://127.0.0.1/x?y",
            "//evil.test",
        ] {
            refuses(
                &format!("redirect = \"{wrong}\""),
                "expected a path or a URL on loopback",
            );
        }
        for ours in ["state", "redirect_uri", "code_challenge"] {
            refuses(
                &format!("authorization-parameters = {{ {ours} = \"x\" }}"),
                "not for the configuration",
            );
        }
        refuses(
            "certificate = \"nothing.pem\"",
            "cannot read the certificate",
        );
    }

    #[test]
    fn an_issuer_is_kept_as_it_is_written_and_a_landing_may_leave_its_port_open() {
        reads("", "Some(\"https://as.test\")");
        reads("", "host: \"127.0.0.1\", port: None, path: \"/callback\"");
        reads("redirect = \"/x\"", "path: \"/x\"");
        reads(
            "redirect = \"http://localhost/x\"",
            "host: \"localhost\", port: None",
        );
        reads(
            "redirect = \"http://localhost:8765/x\"",
            "port: Some(8765), path: \"/x\"",
        );
        reads("dpop = true", "dpop: Asked");
        reads("dpop = \"required\"", "dpop: Required");
        reads(
            "authorization-parameters = { access_type = \"offline\" }",
            "(\"access_type\", \"offline\")",
        );
    }
}
