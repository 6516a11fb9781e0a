//! Decision tables: every folder of `tests/cases` is a policy with the cases that it must decide so.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use exeat_policy::{Policy, Sources, World, cases};
use exeat_types::{AgentId, CredentialId, Origin, Report, Source};

fn world() -> World {
    let mut world = World::default();
    for (agent, groups) in [
        ("claude", vec!["coding"]),
        ("dusty", vec!["bots"]),
        ("nightly", vec![]),
        ("codex", vec![]),
    ] {
        let groups = groups.into_iter().map(str::to_owned).collect();
        world.agents.insert(AgentId::new(agent).unwrap(), groups);
    }
    let origin = Origin::parse("https://api.github.com").unwrap();
    world
        .credentials
        .insert(CredentialId::new("github").unwrap(), vec![origin]);
    world
}

fn source(folder: &Path, name: &str) -> Vec<Source> {
    let path = folder.join(name);
    let Ok(text) = fs::read_to_string(&path) else {
        return Vec::new();
    };
    let shown = format!("{}/{name}", folder.file_name().unwrap().to_string_lossy());
    vec![Source::new(&shown, &text)]
}

#[test]
fn every_case_is_decided_as_its_table_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut run = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let folder = entry.unwrap().path();
        let sources = Sources {
            tools: source(&folder, "tools.toml"),
            policy: source(&folder, "policy.toml"),
            cedar: source(&folder, "extra.cedar"),
        };
        let policy =
            Policy::compile(&sources, &world()).unwrap_or_else(|report| panic!("{report}"));
        let mut report = Report::new();
        let cases = cases::read(&source(&folder, "cases.toml"), &mut report);
        assert!(report.is_empty(), "{report}");
        // Twice: the second answer comes from memory.
        for case in cases.iter().chain(&cases) {
            let result = cases::run(&policy, case);
            assert!(
                result.passed,
                "{} {}: expected {}, got {}",
                result.place, result.name, result.expected, result.got
            );
            run += 1;
        }
    }
    assert!(run > 100, "only {run} cases were found");
}
