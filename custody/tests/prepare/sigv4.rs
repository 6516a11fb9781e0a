//! AWS Signature Version 4: what agents sign with a placeholder leaves as the published vectors say.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use exeat_custody::{
    Ask, CredentialSpec, Custody, Draft, DraftBody, Finish, Kind, Live, Loaded, Prepared, Refused,
    SecretRef, Shape, SigV4,
};
use exeat_types::{Origin, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::world::{agent, foreign, id, own, secret};

const VECTORS: &str = include_str!("../vectors/sigv4.json");
/// Vectors that sign what a gate never sends as it came, or never signs.
const EXCLUDED: [(&str, &str); 6] = [
    (
        "get-space-normalized",
        "its path is escaped once, as only that of S3 is",
    ),
    ("get-utf8", "a path has only characters of RFC 3986"),
    (
        "get-vanilla-utf8-query",
        "a query has only characters of RFC 3986",
    ),
    ("get-slashes-normalized", "a path has no empty segments"),
    ("get-slash-normalized", "a path has no empty segments"),
    ("post-sts-header-after", "a session token is always signed"),
];
const S3: &str = "https://examplebucket.s3.amazonaws.com";
const S3_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const S3_TIME: &str = "2013-05-24T00:00:00Z";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn custody(origin: &str, service: &str, key_id: Option<&str>, key: &str) -> Custody {
    let spec = CredentialSpec {
        id: id("aws"),
        kind: Kind::Made(Arc::new(SigV4 {
            access_key_id: key_id.map(str::to_owned),
            services: vec![service.to_owned()],
            regions: vec!["us-east-1".to_owned()],
        })),
        origins: vec![Origin::parse(origin).unwrap()],
        secret: Some(SecretRef::Sealed("aws".to_owned())),
        shape: Shape::Auto,
    };
    let loaded = vec![Loaded::new(spec, secret(key), 1)];
    let agents = [agent("claude"), agent("codex")];
    let live = Live::new().unwrap();
    Custody::build(loaded, &agents, &secret("CANARY-placeholder-key"), &live).unwrap()
}

/// A request of the agent's.
#[derive(Clone)]
struct Request {
    origin: &'static str,
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    now: Timestamp,
}

fn request(origin: &'static str, method: &str, target: &str, time: &str) -> Request {
    Request {
        origin,
        method: method.parse().unwrap(),
        target: target.to_owned(),
        headers: HeaderMap::new(),
        body: None,
        now: time.parse().unwrap(),
    }
}

impl Request {
    fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers
            .append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    fn body(self, body: &str) -> Self {
        let body = (!body.is_empty()).then(|| Bytes::from(body.to_owned()));
        Self { body, ..self }
    }

    /// Signed for S3 by the agent, with a key that is none.
    fn signed(self, headers: &str) -> Self {
        let text = authorization("AKDUMMY", "us-east-1", "s3", headers);
        self.header("authorization", &text)
    }

    fn prepare(&self, custody: &Custody) -> Result<Prepared, Refused> {
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target.as_str(), None),
        };
        custody.prepare(&Ask {
            agent: &agent("claude"),
            origin: &Origin::parse(self.origin).unwrap(),
            path,
            query,
            headers: &self.headers,
            body: self.body.as_ref(),
            method: &self.method,
            others: &[],
            token: None,
            credential: Some(&id("aws")),
            slots: &[],
            now: Timestamp::from_millis(0),
        })
    }

    /// What leaves: the target, the headers, and what follows the body.
    fn sent(&self, custody: &Custody) -> (String, HeaderMap, Arc<dyn Finish>) {
        let prepared = self
            .prepare(custody)
            .unwrap_or_else(|refused| panic!("{refused}"));
        let mut headers = self.headers.clone();
        for (name, value) in prepared.headers {
            headers.remove(&name);
            headers.extend(value.map(|value| (name, value)));
        }
        let path = self.target.split('?').next().unwrap();
        let query = self
            .target
            .split_once('?')
            .map(|(_, query)| query.to_owned());
        let mut target = match prepared.query.unwrap_or(query) {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let finish = prepared.finish.unwrap();
        finish
            .finish(&mut Draft {
                method: &self.method,
                origin: &Origin::parse(self.origin).unwrap(),
                target: &mut target,
                headers: &mut headers,
                body: self
                    .body
                    .as_ref()
                    .map_or(DraftBody::Absent, DraftBody::Whole),
                now: self.now,
            })
            .unwrap();
        (target, headers, finish)
    }

    #[track_caller]
    fn refused(&self, custody: &Custody, expect: &str) {
        let refused = self.prepare(custody).err().expect("it must be refused");
        assert_eq!(refused.to_string(), expect);
    }
}

fn authorization(key: &str, region: &str, service: &str, headers: &str) -> String {
    let zeros = "0".repeat(64);
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20200101/{region}/{service}/aws4_request, SignedHeaders={headers}, Signature={zeros}"
    )
}

/// The same target with a signature that is none.
fn dummy(presigned: &str) -> String {
    let (rest, _signature) = presigned.split_once("&X-Amz-Signature=").unwrap();
    format!("{rest}&X-Amz-Signature={}", "0".repeat(64))
}

fn pairs(target: &str) -> (String, BTreeSet<String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (
        path.to_owned(),
        query.split('&').map(str::to_owned).collect(),
    )
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

/// A case of the suite, its request, and custody with its key. Cases that sign `content-length` are not ours to sign.
fn cases() -> Vec<(Value, Request, Custody)> {
    let suite: Value = serde_json::from_str(VECTORS).unwrap();
    let mut found = Vec::new();
    for case in suite["cases"].as_array().unwrap() {
        let name = text(case, "name");
        let length = text(case, "authorization").contains("content-length");
        if length || EXCLUDED.iter().any(|(excluded, _why)| *excluded == name) {
            continue;
        }
        let time = text(case, "time");
        let mut request = request(
            "https://example.amazonaws.com",
            text(case, "method"),
            text(case, "target"),
            time,
        )
        .body(text(case, "body"));
        for field in case["headers"].as_array().unwrap() {
            let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
            if !name.eq_ignore_ascii_case("x-amz-security-token") {
                request = request.header(name, value);
            }
        }
        let (key_id, key) = (
            suite["key"][0].as_str().unwrap(),
            suite["key"][1].as_str().unwrap(),
        );
        let key = match case["token"].as_str() {
            None => key.to_owned(),
            Some(token) => serde_json::json!({
                "Version": 1, "AccessKeyId": key_id, "SecretAccessKey": key, "SessionToken": token,
            })
            .to_string(),
        };
        let custody = custody(
            "https://example.amazonaws.com",
            "service",
            Some(key_id),
            &key,
        );
        found.push((case.clone(), request, custody));
    }
    assert!(found.len() >= 23, "{} cases", found.len());
    found
}

#[test]
fn the_cases_of_the_signing_suite_are_signed_in_their_header_as_published() {
    for (case, request, custody) in cases() {
        let expect = text(&case, "authorization");
        let headers = expect.split("SignedHeaders=").nth(1).unwrap();
        let headers = headers.split(',').next().unwrap();
        let given = authorization("AKDUMMY", "us-east-1", "service", headers);
        let (target, sent, _) = request
            .clone()
            .header("authorization", &given)
            .sent(&custody);
        assert_eq!(sent["authorization"], expect, "{}", text(&case, "name"));
        assert_eq!(target, request.target);
        assert!(sent["authorization"].is_sensitive());
        assert_eq!(
            sent.get("x-amz-security-token")
                .map(|it| it.to_str().unwrap()),
            case["token"].as_str()
        );
    }
}

#[test]
fn the_cases_of_the_signing_suite_are_presigned_as_published() {
    for (case, mut request, custody) in cases() {
        let expect = text(&case, "presigned");
        request.target = dummy(expect);
        let (target, sent, _) = request.sent(&custody);
        assert_eq!(pairs(&target), pairs(expect), "{}", text(&case, "name"));
        assert!(!sent.contains_key("authorization"));
    }
}

#[test]
fn the_published_examples_of_s3_are_signed_with_their_path_escaped_once() {
    let custody = custody(S3, "s3", Some("AKIAIOSFODNN7EXAMPLE"), S3_KEY);
    let get =
        |target: &str| request(S3, "GET", target, S3_TIME).header("x-amz-content-sha256", EMPTY);
    let put = request(S3, "PUT", "/test$file.text", S3_TIME)
        .header("date", "Fri, 24 May 2013 00:00:00 GMT")
        .header("x-amz-storage-class", "REDUCED_REDUNDANCY")
        .header(
            "x-amz-content-sha256",
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
        )
        .body("Welcome to Amazon S3.");
    for (request, headers, expect) in [
        (
            get("/test.txt").header("range", "bytes=0-9"),
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            put,
            "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            get("/?lifecycle"),
            "host;x-amz-content-sha256;x-amz-date",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            get("/?max-keys=2&prefix=J"),
            "host;x-amz-content-sha256;x-amz-date",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let (target, sent, _) = request.clone().signed(headers).sent(&custody);
        let expect = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders={headers}, Signature={expect}"
        );
        assert_eq!(sent["authorization"], *expect, "{target}");
    }
    let presigned = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let (target, _, _) = request(S3, "GET", &dummy(presigned), S3_TIME).sent(&custody);
    assert_eq!(pairs(&target), pairs(presigned));
}

#[test]
fn a_presigned_request_is_good_as_long_as_the_agent_said_and_one_that_ended_stays_ended() {
    let custody = custody(S3, "s3", Some("AKIAIOSFODNN7EXAMPLE"), S3_KEY);
    let target = "/test.txt?x=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKDUMMY%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=own&X-Amz-Signature=0";
    let target = dummy(target);
    for (now, date, seconds) in [
        ("2013-05-24T00:00:00Z", "20130524T000000Z", "600"),
        ("2013-05-24T00:09:00Z", "20130524T000900Z", "60"),
        ("2013-05-24T00:10:00Z", "20130524T000000Z", "600"),
        ("2013-05-23T23:00:00Z", "20130523T230000Z", "600"),
    ] {
        let (target, _, _) = request(S3, "GET", &target, now).sent(&custody);
        let (path, pairs) = pairs(&target);
        assert_eq!(path, "/test.txt");
        for expect in [
            format!("X-Amz-Date={date}"),
            format!("X-Amz-Expires={seconds}"),
            "x=1".to_owned(),
        ] {
            assert!(pairs.contains(&expect), "{now}: {target}");
        }
        assert!(!target.contains("AKDUMMY") && !target.contains("Security-Token"));
    }
}

#[test]
fn what_another_attempt_sends_is_signed_anew_and_bears_one_signature() {
    let custody = custody(S3, "s3", Some("AKIAIOSFODNN7EXAMPLE"), S3_KEY);
    let request = request(S3, "GET", "/test.txt", S3_TIME).signed("host;x-amz-date");
    let (mut target, mut headers, finish) = request.sent(&custody);
    let first = headers["authorization"].clone();
    let later = "2013-05-24T00:00:09Z".parse().unwrap();
    let mut draft = Draft {
        method: &request.method,
        origin: &Origin::parse(S3).unwrap(),
        target: &mut target,
        headers: &mut headers,
        body: DraftBody::Absent,
        now: later,
    };
    finish.finish(&mut draft).unwrap();
    assert_ne!(headers["authorization"], first);
    assert_eq!(headers.get_all("authorization").iter().count(), 1);
    assert_eq!(headers["x-amz-date"], "20130524T000009Z");
}

#[test]
fn what_cannot_be_signed_or_is_for_something_else_is_refused() {
    let custody = custody(S3, "s3", Some("AKIAIOSFODNN7EXAMPLE"), S3_KEY);
    let get = request(S3, "GET", "/test.txt", S3_TIME);
    let bearing = |value: &str| get.clone().header("authorization", value);
    let because = |problem: &str| format!("the request cannot be signed: {problem}");
    for (key, region, service, problem) in [
        (
            "AK",
            "us-east-2",
            "s3",
            "its credential is not for this region",
        ),
        (
            "AK",
            "us-east-1",
            "iam",
            "its credential is not for this service",
        ),
        ("", "us-east-1", "s3", "its signature is malformed"),
    ] {
        let value = authorization(key, region, service, "host");
        bearing(&value).refused(&custody, &because(problem));
    }
    bearing("Bearer abc").refused(
        &custody,
        &because("its authorization is no signature of version 4"),
    );
    let good = authorization("AK", "us-east-1", "s3", "host");
    bearing(&good)
        .header("authorization", &good)
        .refused(&custody, &because("it bears more than one signature"));
    let mut both = bearing(&good);
    both.target = format!("/test.txt?X-Amz-Signature={}", "0".repeat(64));
    both.refused(&custody, &because("it bears more than one signature"));
    let mut half = get.clone();
    half.target = both.target;
    half.refused(&custody, &because("its signature is malformed"));
    for (hash, problem) in [
        (EMPTY, "its body is not the one whose hash it states"),
        (
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            "it states a hash of its body that is none",
        ),
    ] {
        bearing(&good)
            .header("x-amz-content-sha256", hash)
            .body("something")
            .refused(&custody, &because(problem));
    }
    // Another agent's placeholder as the id of the key.
    let stolen = authorization(&foreign(&custody, "aws"), "us-east-1", "s3", "host");
    bearing(&stolen).refused(
        &custody,
        "a placeholder stands in header.authorization, where it does not resolve",
    );
    let given = authorization(&own(&custody, "aws"), "us-east-1", "s3", "host");
    assert!(bearing(&given).prepare(&custody).is_ok());
}

#[test]
fn a_request_without_a_signature_is_signed_if_there_is_no_choice() {
    let origin = "https://sqs.us-east-1.amazonaws.com";
    let custody = custody(origin, "sqs", Some("AKID"), "CANARY-aws-key");
    let request = request(origin, "POST", "/", S3_TIME).body("{}");
    let (_, headers, finish) = request.sent(&custody);
    let value = headers["authorization"].to_str().unwrap();
    assert!(
        value.contains("/us-east-1/sqs/aws4_request, SignedHeaders=host;x-amz-date,"),
        "{value}"
    );
    assert!(finish.needs_body() && finish.body().is_none());
}

#[test]
fn a_body_in_signed_chunks_is_signed_from_the_head_on_and_keeps_its_length() {
    let custody = custody(S3, "s3", Some("AKIAIOSFODNN7EXAMPLE"), S3_KEY);
    let zeros = "0".repeat(64);
    let body = format!("3;chunk-signature={zeros}\r\none\r\n0;chunk-signature={zeros}\r\n\r\n");
    let request = request(S3, "PUT", "/a", S3_TIME)
        .header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
        .header("x-amz-decoded-content-length", "3")
        .signed("host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length")
        .body(&body);
    let (_, headers, finish) = request.sent(&custody);
    assert_eq!(
        headers["x-amz-content-sha256"],
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    );
    assert!(!finish.needs_body());
    let sent = finish
        .body()
        .unwrap()
        .push(body.as_bytes(), exeat_custody::Last::Yes)
        .unwrap();
    assert_eq!(sent.len(), body.len());
    assert!(!String::from_utf8(sent.to_vec()).unwrap().contains(&zeros));
    assert!(
        finish
            .body()
            .unwrap()
            .push(&body.as_bytes()[..50], exeat_custody::Last::Yes)
            .is_err()
    );
}
