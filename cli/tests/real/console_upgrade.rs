//! The console while the gate is replaced: the same address answers.

use serde_json::json;

use crate::passkeys::{TOKEN, World};

#[test]
fn after_an_upgrade_the_console_answers_on_the_same_address_and_approves() {
    let mut world = World::new();
    let command = world.site.exeat();
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let mut words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    words.extend(["--json", "upgrade"]);
    let steps = world.browse("upgraded.mjs", &["--upgrade", &json!(words).to_string()]);
    let before = world.status.clone();
    let now = steps["upgraded"]["now"].clone();
    world.status = now;
    for word in ["console", "console-port", "listeners"] {
        assert!(!before[word].is_null(), "{word}: {before}");
        assert_eq!(world.status[word], before[word], "{word}");
    }
    assert_ne!(world.status["pid"], before["pid"]);
    let signed_in = json!({ "first": "/sign-in", "then": "/" });
    assert_eq!(steps["signed-in"], signed_in);
    assert_eq!(steps["approved"], json!({ "status": 200 }));
    let (ours, python, judge) = world.judged();
    assert_eq!(
        (&ours["approved"], &python["approved"]),
        (&json!(1), &json!(1))
    );
    let expected = json!({ "enrolled": 1, "vouched": 0, "granted": 1, "refused": 0 });
    assert_eq!(judge, expected);
    world.site.holds_none_of(&[TOKEN]);
}
