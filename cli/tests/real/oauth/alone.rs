//! Grants that nobody has to agree to.

use serde_json::{Value, json};

use super::world::{ClientKey, SECRET, World};

fn machine(id: &str, auth: &str) -> Value {
    json!({
        "client_id": id, "client_secret": SECRET, "token_endpoint_auth_method": auth,
        "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": [],
    })
}

fn credential(client: &str, grant: &str, auth: &str, more: &str) -> String {
    format!(
        "issuer = \"https://as.test\"\nclient-id = \"{client}\"\ngrant = \"{grant}\"\nauth = \"{auth}\"\n\
         scopes = [\"api:read\"]\n{more}"
    )
}

/// What the server knows of each client.
fn clients(key: &ClientKey) -> Value {
    let with = |mut client: Value, more: Value| {
        for (name, value) in more.as_object().unwrap() {
            client[name] = value.clone();
        }
        client
    };
    let keys = json!({ "jwks": { "keys": [key.jwk] }, "token_endpoint_auth_signing_alg": "ES256" });
    let jwt = json!({ "grant_types": ["urn:ietf:params:oauth:grant-type:jwt-bearer"] });
    let exchange = json!({ "grant_types":
        ["urn:ietf:params:oauth:grant-type:token-exchange", "client_credentials"] });
    json!([
        machine("basic", "client_secret_basic"),
        machine("post", "client_secret_post"),
        with(machine("signed", "private_key_jwt"), keys.clone()),
        with(
            machine("shown", "self_signed_tls_client_auth"),
            json!({ "jwks": { "keys": [key.jwk] } })
        ),
        with(
            machine("bound", "client_secret_basic"),
            json!({ "dpop_bound_access_tokens": true })
        ),
        with(
            with(machine("both", "private_key_jwt"), keys.clone()),
            json!({ "dpop_bound_access_tokens": true })
        ),
        with(machine("speaks", "private_key_jwt"), with(keys, jwt)),
        with(machine("swaps", "client_secret_basic"), exchange),
    ])
}

/// Every way a client proves itself, and every grant that the gate gets by itself.
fn world() -> World {
    let key = ClientKey::new();
    let clients = clients(&key);
    let sealed = "secret = \"sealed:client\"\n";
    let own = "secret = \"sealed:key\"\n";
    let shown = format!(
        "{own}certificate = '''{}'''\ntoken-hosts = [\"mtls.test\"]\n",
        key.certificate
    );
    let alone =
        |client: &str, auth: &str, more: &str| credential(client, "client-credentials", auth, more);
    let resource = format!("{sealed}resource = [\"https://api.test\"]");
    let required = |secret: &str| format!("{secret}dpop = \"required\"");
    let alice = format!("{own}subject = \"alice\"");
    let swap =
        format!("{sealed}subject-token = \"client-credentials\"\naudience = \"https://api.test\"");
    let asked = format!("{sealed}dpop = true");
    let credentials = [
        ("basic", alone("basic", "basic", &resource)),
        ("post", alone("post", "post", sealed)),
        ("signed", alone("signed", "private-key-jwt", own)),
        ("shown", alone("shown", "mtls", &shown)),
        ("bound", alone("bound", "basic", &required(sealed))),
        ("both", alone("both", "private-key-jwt", &required(own))),
        (
            "speaks",
            credential("speaks", "jwt-bearer", "private-key-jwt", &alice),
        ),
        (
            "swaps",
            credential("swaps", "token-exchange", "basic", &swap),
        ),
        ("unbound", alone("basic", "basic", &asked)),
        ("stranger", alone("nobody", "basic", sealed)),
        (
            "greedy",
            alone("post", "post", "secret = \"sealed:other\"\n"),
        ),
    ];
    let credentials: Vec<(&str, &str)> =
        credentials.iter().map(|(n, t)| (*n, t.as_str())).collect();
    let mut world = World::new(&clients, &credentials, 3600);
    world.site.seal("key", &key.pem);
    world.site.seal("other", "CANARY-oauth-wrong-secret");
    world.serve();
    world
}

#[test]
fn every_client_proof_and_grant_yields_a_token_that_the_api_takes_and_no_agent_sees() {
    let world = world();
    for name in ["basic", "post", "signed", "shown", "speaks", "swaps"] {
        let body = world.works(name);
        assert_eq!(
            body["authorization"],
            format!("Bearer [redacted:{name}]"),
            "{body}"
        );
    }
    // Both attempts of one that proves itself by assertions have a fresh one.
    for name in ["bound", "both"] {
        let body = world.works(name);
        assert_eq!(body["authorization"], format!("DPoP [redacted:{name}]"));
    }
    // A server that may bind tokens binds those that come with a proof.
    assert_eq!(
        world.works("unbound")["authorization"],
        "DPoP [redacted:unbound]"
    );

    // proves RFC 8707 section 2: the token is for the resource, and for no other
    let calls = world.of_kind("api");
    let basic = calls.iter().find(|line| line["path"] == "/basic").unwrap();
    assert_eq!(basic["aud"], "https://api.test");
    // proves RFC 9449 sections 8 and 9: each server wants a nonce of its own, and gets it at the second attempt
    let tokens = world.of_kind("token");
    let asked: Vec<_> = tokens
        .iter()
        .filter(|line| line["client"] == "bound")
        .collect();
    assert_eq!(asked.len(), 2, "{asked:#?}");
    assert_eq!(
        (&asked[0]["error"], &asked[1]["status"]),
        (&json!("use_dpop_nonce"), &json!(200))
    );
    let bound: Vec<_> = calls
        .iter()
        .filter(|line| line["path"] == "/bound")
        .collect();
    assert_eq!(
        (&bound[0]["wrong"], &bound[1]["status"]),
        (&json!("nonce"), &json!(200))
    );

    // One token serves many calls.
    for _ in 0..3 {
        world.works("basic");
    }
    let issued = world.of_kind("token");
    let basic = issued
        .iter()
        .filter(|line| line["resource"].is_string() || line["resource"].is_array());
    assert_eq!(basic.count(), 1);
    world.holds_no_secret();
}

#[test]
fn a_client_that_the_server_does_not_accept_is_dead_and_asks_no_second_time() {
    let world = world();
    for name in ["stranger", "greedy"] {
        world.refused(name, "credential-dead");
        let asked = world.of_kind("grant-error").len();
        world.refused(name, "credential-dead");
        assert_eq!(
            world.of_kind("grant-error").len(),
            asked,
            "{name} asked again"
        );
    }
    world.holds_no_secret();
}
