//! `[tool.response]` as operators write it: what it means, and what is wrong with it.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use exeat_policy::{HiddenText, Markers, Pii, Policy, ResponseRules, Sources, World};
use exeat_types::Source;

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
    };
    assert_eq!(rules, Ok(expected));
    assert_eq!(compile(""), Ok(ResponseRules::default()));
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
}
