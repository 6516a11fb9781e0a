//! Tool and policy files: any text is compiled or refused with a report that can be printed.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::{Policy, Sources, World};
use exeat_types::{AgentId, Source};

/// A tool file; behind a line `---`, rules.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (tools, rules) = text.split_once("\n---\n").unwrap_or((text, ""));
    let sources = Sources {
        tools: vec![Source::new("tools/fuzz.toml", tools)],
        policy: vec![Source::new("policy.toml", rules)],
        ..Sources::default()
    };
    let mut world = World::default();
    if let Ok(agent) = AgentId::new("claude") {
        world.agents.insert(agent, vec!["coding".to_owned()]);
    }
    match Policy::compile(&sources, &world) {
        Ok(policy) => {
            let again = Policy::compile(&sources, &world);
            assert!(again.is_ok_and(|again| again.digest() == policy.digest()));
            assert!(policy.tools().count() < text.len());
        }
        Err(report) => assert!(!report.to_string().is_empty()),
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
