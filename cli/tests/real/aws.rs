//! boto3, unmodified, against moto as AWS: what it signs with a placeholder arrives signed with the key.

use std::ffi::OsStr;

use serde_json::{Value, json};

use crate::site::{Server, Site, programs, python, seen};

const ID: &str = "AKIDGATE";
const SECRET: &str = "CANARY-aws-secret-4Wq";
const SERVICES: [&str; 3] = ["s3", "dynamodb", "sts"];
const HOSTS: [&str; 3] = [
    "s3.eu-west-1.amazonaws.com",
    "dynamodb.eu-west-1.amazonaws.com",
    "sts.eu-west-1.amazonaws.com",
];

const S3: &str = r#"
[api]
name = "s3"
origin = "https://s3.eu-west-1.amazonaws.com"
credential = "aws"

[[tool]]
name = "bucket.create"
request = "PUT /{bucket}"
category = "write"
description = "Make a bucket"
[tool.input.body]
media = "binary"

[[tool]]
name = "objects.list"
request = "GET /{bucket}"
category = "read"
description = "List objects"
[tool.input.query]
properties = {}
additionalProperties = true

[[tool]]
name = "object.get"
request = "GET /{bucket}/{*key}"
category = "read"
description = "Read an object"
[tool.input.query]
properties = {}
additionalProperties = true

[[tool]]
name = "object.head"
request = "HEAD /{bucket}/{*key}"
category = "read"
description = "Look at an object"
[tool.input.query]
properties = {}
additionalProperties = true

[[tool]]
name = "object.put"
request = "PUT /{bucket}/{*key}"
category = "write"
description = "Write an object"
[tool.input.query]
properties = {}
additionalProperties = true
[tool.input.body]
media = "binary"

[[tool]]
name = "object.upload"
request = "POST /{bucket}/{*key}"
category = "write"
description = "Begin or end an upload in parts"
[tool.input.query]
properties = {}
additionalProperties = true
[tool.input.body]
media = "binary"
"#;

const DYNAMODB: &str = r#"
[api]
name = "dynamodb"
origin = "https://dynamodb.eu-west-1.amazonaws.com"
credential = "aws"

[[tool]]
name = "call"
request = "POST /"
category = "write"
description = "Call DynamoDB"
[tool.input.body]
media = "binary"
"#;

const STS: &str = r#"
[api]
name = "sts"
origin = "https://sts.eu-west-1.amazonaws.com"
credential = "aws"

[[tool]]
name = "call"
request = "POST /"
category = "read"
description = "Ask who one is"
[tool.input.body]
media = "binary"
"#;

/// A site whose one key is for these services.
fn site(services: &[&str]) -> (Site, Server) {
    let site = Site::new(&HOSTS);
    let record = site.outside("seen");
    let (id, secret) = (OsStr::new(ID), OsStr::new(SECRET));
    let more = [
        OsStr::new("--id"),
        id,
        OsStr::new("--secret"),
        secret,
        OsStr::new("--record"),
        record.as_os_str(),
    ];
    let server = site.start(python().to_str().unwrap(), "aws_server.py", &more);
    for (service, tools) in SERVICES.iter().zip([S3, DYNAMODB, STS]) {
        if services.contains(service) {
            site.write(&format!("tools/{service}.toml"), tools);
        }
    }
    let listed = |end: &str| {
        let quoted = services.iter().map(|service| format!("\"{service}{end}\""));
        quoted.collect::<Vec<_>>().join(", ")
    };
    let rule = format!(
        "[[rule]]\nname = \"use aws\"\nagents = [\"coder\"]\ntools = [{}]\neffect = \"allow\"\n",
        listed(".*")
    );
    site.write("policy.toml", &rule);
    let credential = format!(
        "[credentials.aws]\nkind = \"sigv4\"\naccess-key-id = \"{ID}\"\nsecret = \"sealed:aws\"\n\
         services = [{}]\nregions = [\"eu-west-1\"]\nhosts = [{}]\n\
         env = [\"AWS_ACCESS_KEY_ID\", \"AWS_SECRET_ACCESS_KEY\"]\n",
        listed(""),
        listed(".eu-west-1.amazonaws.com")
    );
    let private: Vec<String> = HOSTS.iter().map(|host| format!("\"{host}:443\"")).collect();
    let to: Vec<String> = HOSTS
        .iter()
        .map(|host| format!("\"{host}:443\" = \"127.0.0.1:{}\"", server.port))
        .collect();
    let network = format!(
        "[network]\nallow-private = [{}]\nupstream-roots = [\"root.pem\"]\nconnect-to = {{ {} }}\n",
        private.join(", "),
        to.join(", ")
    );
    site.write(
        "exeat.toml",
        &format!("[agents.coder]\n{credential}{network}"),
    );
    site.seal("aws", SECRET);
    (site, server)
}

fn run(site: &Site, steps: &[&str]) -> Vec<Value> {
    let mut agent = site.sealed();
    agent
        .arg(python())
        .arg(programs().join("aws_client.py"))
        .args(steps);
    site.outcomes(&mut agent, &[SECRET])
}

#[test]
fn boto3_works_with_a_key_that_it_never_holds() {
    let (site, _server) = site(&SERVICES);
    let steps = [
        ("bucket", Value::Null),
        ("put", Value::Null),
        ("get", json!(6000)),
        ("list", json!(["a b/$c+(1).txt"])),
        ("multipart", json!(5 * 1024 * 1024 + 100)),
        ("presigned", json!(6000)),
        ("presigned-put", json!("by url")),
        ("chunks", json!(66_536)),
        ("chunks-trailer", json!(66_536)),
        ("table", json!("hello")),
        ("identity", json!("123456789012")),
    ];
    let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
    let outcomes = run(&site, &names);
    let expect: Vec<Value> = steps
        .iter()
        .map(|(name, found)| json!({ "step": name, "found": found }))
        .collect();
    assert_eq!(outcomes, expect);
    let seen = seen(&site.outside("seen"));
    assert!(seen.len() >= 14, "{} requests", seen.len());
    for request in &seen {
        let shown = request["credential"].as_str().unwrap();
        assert!(
            shown.contains(&format!("{ID}/")) && request["good"] == true,
            "{request}"
        );
    }
    let checked = |word: &str| seen.iter().any(|request| request["checked"] == word);
    for word in [
        "header",
        "query",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ] {
        assert!(checked(word), "{word}");
    }
    site.holds_none_of(&[SECRET]);
}

#[test]
fn a_key_signs_only_for_its_service_and_region() {
    let (site, _server) = site(&SERVICES);
    let outcomes = run(&site, &["other-region", "other-service"]);
    for outcome in outcomes {
        assert_eq!(outcome["status"], 400, "{outcome}");
    }
    let refused = site.receipts();
    assert_eq!(refused.len(), 2);
    for (tool, _, reason) in refused {
        assert_eq!(
            (tool.as_str(), reason.as_str()),
            ("dynamodb.call", "malformed-request")
        );
    }
    assert!(seen(&site.outside("seen")).is_empty());
}

#[test]
fn a_wrong_key_is_refused_by_aws_and_its_own_requests_are_signed_too() {
    let (site, _server) = site(&["sts"]);
    let outcomes = run(&site, &["plain"]);
    assert_eq!(outcomes, [json!({ "step": "plain", "found": true })]);
    site.seal("aws", "CANARY-aws-other-8Ks");
    let outcomes = run(&site, &["identity"]);
    assert_eq!(outcomes[0]["status"], 403, "{}", outcomes[0]);
    assert!(
        outcomes[0]["error"]
            .to_string()
            .contains("SignatureDoesNotMatch")
    );
}
