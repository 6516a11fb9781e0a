//! `[tool.response]` as operators write it: what it means, and what is wrong with it.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use exeat_policy::{
    HiddenText, Markers, MintPlace, MintedAt, Mints, Pii, Policy, ResponseRules, Slot, Sources,
    World,
};
use exeat_types::{MintForm, Source};

fn compile(response: &str) -> Result<ResponseRules, String> {
    let text = format!(
        "[api]\nname = \"a\"\norigin = \"https://a.test\"\n[[tool]]\nname = \"get\"\n\
         request = \"GET /x\"\ncategory = \"read\"\n[tool.response]\n{response}\n"
    );
    let sources = Sources {
        tools: vec![Source::new("a.toml", &text)],
        ..Sources::default()
    };
    match Policy::compile(&sources, &World::default()) {
        Ok(policy) => match policy.tool("a.get") {
            Some(tool) => Ok(tool.response.clone()),
            None => panic!("the tool is missing"),
        },
        Err(report) => Err(report.to_string()),
    }
}

#[test]
fn every_key_has_its_meaning() {
    let rules = compile(
        "bytes-max = \"64 KiB\"\npii = [\"card\", \"email\"]\ntext = \"strip\"\nmarkers = true\n\
         deltas = [\"anthropic\", \"/own/text\"]",
    );
    let expected = ResponseRules {
        remove: vec![],
        bytes_max: Some(65_536),
        pii: vec![Pii::Card, Pii::Email],
        hidden: HiddenText::Strip,
        markers: Markers::Flag,
        deltas: vec![
            "/delta/text".to_owned(),
            "/delta/partial_json".to_owned(),
            "/delta/thinking".to_owned(),
            "/own/text".to_owned(),
        ],
        mints: Mints::Nothing,
    };
    assert_eq!(rules, Ok(expected));
    assert_eq!(compile(""), Ok(ResponseRules::default()));
}

#[test]
fn tokens_that_a_response_hands_out_are_told_by_form_or_by_place() {
    let mints = |response: &str| compile(response).map(|rules| rules.mints);
    let form = |form, to: &[&str]| {
        let to = to.iter().filter_map(|reach| reach.parse().ok()).collect();
        Ok(Mints::Form { form, to })
    };
    assert_eq!(mints("mints = \"oauth\""), form(MintForm::Oauth, &[]));
    let amazon = "https://*.amazonaws.com";
    let sts = format!("mints = \"sts\"\nmints-for = [\"{amazon}\"]");
    assert_eq!(mints(&sts), form(MintForm::Sts, &[amazon]));
    let places = mints(
        "[[tool.response.mints]]\nat = \"/auth/client_token\"\nto = [\"https://b.test\"]\n\
         in = [\"header:x-vault-token\"]\n[[tool.response.mints]]\nat = \"header:x-subject-token\"\n\
         to = []\nin = []",
    );
    let place = |at, to: &[&str], slots: &[&str]| MintPlace {
        at,
        to: to.iter().filter_map(|reach| reach.parse().ok()).collect(),
        slots: slots
            .iter()
            .filter_map(|slot| slot.parse::<Slot>().ok())
            .collect(),
    };
    let header = http::HeaderName::from_static("x-subject-token");
    let expected = vec![
        place(
            MintedAt::Pointer("/auth/client_token".to_owned()),
            &["https://b.test"],
            &["header:x-vault-token"],
        ),
        place(MintedAt::Header(header), &[], &[]),
    ];
    assert_eq!(places, Ok(Mints::Places(expected)));
}

#[track_caller]
fn check(response: &str, problem: &str) {
    let Err(report) = compile(response) else {
        panic!("it compiles");
    };
    assert!(report.contains(problem), "{report}");
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    check("pii = [\"cards\"]", "did you mean `card`?");
    check(
        "text = \"clean\"",
        "expected one of `keep`, `strip`, got `clean`",
    );
    check("markers = \"yes\"", "expected true or false");
    check("deltas = [\"antropic\"]", "did you mean `anthropic`?");
    check(
        "deltas = [\"delta.text\"]",
        "the presets are: anthropic, openai-chat, openai-responses",
    );
    check("bytes-max = \"64 kilobytes\"", "expected a size such as");
    check("remove = [\"user\"]", "expected a JSON pointer");
    check(
        "remove = [\"/a\"]\ndeltas = [\"/b\"]",
        "`deltas` and `remove` stand side by side",
    );
    check("strip = true", "unknown key `strip`");
    check(
        "mints = \"oath\"",
        "expected one of `oauth`, `sts`, `registry`, `github`",
    );
    check("mints = \"sts\"", "`mints-for` is missing");
    check(
        "mints-for = [\"https://a.test\"]",
        "`mints-for` stands without `mints`",
    );
    check(
        "mints = \"oauth\"\nmints-for = [\"https://*.com\"]",
        "expected a name of two or more labels behind `*.`",
    );
    check(
        "mints = \"oauth\"\ndeltas = [\"/d\"]",
        "`deltas` and `mints` stand side by side",
    );
    check(
        "mints = [{ at = \"token\", to = [], in = [] }]",
        "expected a JSON pointer or a header",
    );
    check(
        "mints = [{ at = \"/t\", to = [], in = [\"path:x\"] }]",
        "a token that a response hands out cannot stand there",
    );
}

#[test]
fn a_slot_is_a_place_that_requests_have() {
    let tool = |request: &str, slots: &str, input: &str| {
        let text = format!(
            "[api]\nname = \"a\"\norigin = \"https://a.test\"\n[[tool]]\nname = \"x\"\nrequest = \"{request}\"\n\
             category = \"write\"\nslots = [{slots}]\n{input}\n"
        );
        let sources = Sources {
            tools: vec![Source::new("a.toml", &text)],
            ..Sources::default()
        };
        let policy = Policy::compile(&sources, &World::default());
        policy.map_err(|report| report.to_string())
    };
    let form = "[tool.input.body]\nmedia = \"form\"\ntype = \"object\"\nproperties = { t = { type = \"string\" } }";
    for (request, slots, input) in [
        ("GET /bot{token}/{method}", "\"path:token\"", ""),
        (
            "GET /x",
            "\"basic:user\", \"protocol:key.\", \"query:k\", \"header:x-k\"",
            "",
        ),
        ("POST /x", "\"body:/t\"", form),
    ] {
        if let Err(report) = tool(request, slots, input) {
            panic!("{report}");
        }
    }
    for (request, slots, problem) in [
        (
            "GET /x",
            "\"path:token\"",
            "`token` is no parameter of the path",
        ),
        (
            "GET /{*rest}",
            "\"path:rest\"",
            "`rest` is no parameter of the path",
        ),
        ("POST /x", "\"body:/t\"", "needs a JSON or form body"),
        ("GET /x", "\"basic:both\"", "expected `header:<name>`"),
    ] {
        let report = tool(request, slots, "").err().unwrap_or_default();
        assert!(report.contains(problem), "{report}");
    }
    let policy = tool("GET /a/bot{token}.x/{m}", "\"path:token\"", "");
    let policy = policy.unwrap_or_else(|report| panic!("{report}"));
    let tool = policy
        .tool("a.x")
        .unwrap_or_else(|| panic!("the tool is missing"));
    assert_eq!(tool.part_of_path("token", "/a/botTOK.x/send"), Some(6..9));
    assert_eq!(tool.part_of_path("m", "/a/botTOK.x/send"), Some(12..16));
    assert_eq!(tool.part_of_path("token", "/a/other/send"), None);
    assert_eq!(tool.part_of_path("other", "/a/botTOK.x/send"), None);
}
