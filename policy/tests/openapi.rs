//! What `exeat tool import` makes of descriptions, good and bad.

use std::fmt::Write as _;

use exeat_policy::{
    Policy, Sources, World,
    openapi::{Imported, Options, grouped, import},
};
use exeat_types::{Report, Source};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use serde_json::{Value, json};

const SHOP_30: &str = include_str!("openapi/shop_30.json");
const SHOP_31: &str = include_str!("openapi/shop_31.json");

#[cfg(test)]
fn read(text: &str, options: &Options) -> Result<Imported, Report> {
    import(&Source::new("shop.json", text), options)
}

fn at_shop() -> Options {
    Options {
        api_name: Some("shop".to_owned()),
        origin: Some("https://api.shop.example".to_owned()),
        credential: Some("shop".to_owned()),
        strict: false,
        encoded_slash: Vec::new(),
    }
}

#[cfg(test)]
fn told(imported: &Imported) -> String {
    let mut text = format!(
        "{} operations, {} tools\n",
        imported.operations, imported.tools
    );
    for (why, notes) in grouped(&imported.notes) {
        writeln!(text, "{why}").unwrap();
        for note in notes {
            writeln!(text, "    {}: {}", note.operation, note.what).unwrap();
        }
    }
    for (name, file) in &imported.files {
        writeln!(text, "==== {name}\n{file}").unwrap();
    }
    text
}

#[cfg(test)]
#[track_caller]
fn compiles(imported: &Imported) {
    let shop = (
        exeat_types::CredentialId::new("shop").unwrap(),
        vec!["https://api.shop.example".parse().unwrap()],
    );
    let world = World {
        agents: [].into(),
        credentials: [shop].into(),
    };
    let tools = imported
        .files
        .iter()
        .map(|(name, text)| Source::new(name, text))
        .collect();
    let sources = Sources {
        tools,
        policy: Vec::new(),
        cedar: Vec::new(),
    };
    match Policy::compile(&sources, &world) {
        Ok(policy) => assert_eq!(policy.tools().count(), imported.tools),
        Err(report) => panic!("{report}"),
    }
}

#[test]
fn a_description_of_3_0_becomes_tool_files() {
    let imported = read(SHOP_30, &at_shop()).unwrap();
    compiles(&imported);
    insta::assert_snapshot!("shop_30", told(&imported));
}

#[test]
fn a_description_of_3_1_becomes_tool_files() {
    let imported = read(
        SHOP_31,
        &Options {
            strict: true,
            ..at_shop()
        },
    )
    .unwrap();
    compiles(&imported);
    insta::assert_snapshot!("shop_31", told(&imported));
}

#[test]
fn what_is_no_description_is_refused_with_its_place() {
    let mut shown = String::new();
    let deep = format!(
        "{{\"openapi\":\"3.0.0\",\"x\":{}1{}}}",
        "[".repeat(120),
        "]".repeat(120)
    );
    let path = |item: Value| json!({"openapi": "3.0.3", "servers": [{"url": "https://a.example"}], "paths": item});
    let pretty = |value: Value| serde_json::to_string_pretty(&value).unwrap();
    let dangling = json!({"/a": {"get": {"parameters": [
        {"$ref": "#/components/parameters/none"},
        {"$ref": "other.json#/x"},
        {"name": "q", "in": "somewhere"},
        {"name": "b", "in": "query", "schema": {"$ref": "#/components/schemas/none"}},
        {"name": "c", "in": "query", "schema": {"type": "strong", "properties": 3}},
        {"in": "query"},
    ]}, "put": 3, "post": {"requestBody": {}}}, "b": {}});
    let around = json!({"openapi": "3.0.3", "servers": [{"url": "https://a.example"}], "paths": {"/a": {"$ref": "#/x"}},
        "x": {"$ref": "#/y"}, "y": {"$ref": "#/x"}});
    let cases = [
        ("empty", String::new()),
        ("yaml", "openapi: 3.0.3\npaths: {}\n".to_owned()),
        (
            "cut off",
            "{\n  \"openapi\": \"3.0.3\",\n  \"paths\"".to_owned(),
        ),
        (
            "a name twice",
            "{\n  \"openapi\": \"3.0.3\",\n  \"openapi\": \"3.1.0\"\n}".to_owned(),
        ),
        ("a list", "[]".to_owned()),
        ("something else", "{}".to_owned()),
        ("swagger", "{\"swagger\": \"2.0\"}".to_owned()),
        (
            "an unknown version",
            "{\n  \"openapi\": \"4.0.0\"\n}".to_owned(),
        ),
        ("nested too deeply", deep),
        (
            "no paths",
            pretty(path(Value::Null)).replace("\"paths\": null", "\"x-y\": 1"),
        ),
        ("no host", pretty(json!({"openapi": "3.1.0", "paths": {}}))),
        ("references and shapes", pretty(path(dangling))),
        ("a reference to itself", pretty(around)),
    ];
    for (name, text) in cases {
        let report = read(&text, &Options::default()).unwrap_err();
        writeln!(shown, "---- {name}\n{report}").unwrap();
    }
    let options = Options {
        api_name: Some("a.b".to_owned()),
        credential: Some("X Y".to_owned()),
        ..Options::default()
    };
    writeln!(
        shown,
        "---- options\n{}",
        read(SHOP_31, &options).unwrap_err()
    )
    .unwrap();
    insta::assert_snapshot!("refused", shown);
}

/// Every pointer into a value.
#[cfg(test)]
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                pointers(item, &format!("{at}/{index}"), out);
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointers(
                    member,
                    &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    out,
                );
            }
        }
        _ => {}
    }
}

#[cfg(test)]
fn odd_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(|n| json!(n)),
        "[a-z{}/#$~%.* \"]{0,12}".prop_map(Value::String),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"$ref": "#/components/schemas/Order"})),
        Just(json!({"$ref": "#/paths"})),
        Just(json!([{"type": "null"}, null])),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_damaged_description_is_imported_soundly_or_refused_with_a_place(
        which in any::<bool>(), at in any::<proptest::sample::Index>(), value in odd_values()
    ) {
        let mut description: Value = serde_json::from_str(if which { SHOP_30 } else { SHOP_31 }).unwrap();
        let mut all = Vec::new();
        pointers(&description, "", &mut all);
        *description.pointer_mut(&all[at.index(all.len())]).unwrap() = value;
        match read(&description.to_string(), &at_shop()) {
            Ok(imported) => compiles(&imported),
            Err(report) => assert!(report.problems().iter().all(|problem| problem.place.is_some()), "{report}"),
        }
    }
}
