//! Words of a command with arguments in them: each stays one word, literal text stays as it is, and what an agent says never
//! begins an option. The first line is a template, the second an argument.
#![cfg_attr(fuzzing, no_main)]

use exeat_policy::{Options, Template};
use serde_json::Value;

/// Renders one word behind a fixed one.
pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (template, said) = text.split_once('\n').unwrap_or((text, ""));
    let words = ["--fixed", template];
    let Ok(parsed) = Template::parse("/bin/true".into(), &words, Options::Refused) else {
        return;
    };
    let said = Value::String(said.to_owned());
    let Ok(rendered) = parsed.render(|_name| Some(&said)) else {
        return;
    };
    assert_eq!(rendered.len(), words.len(), "a word is one word");
    let [fixed, word] = rendered.as_slice() else {
        return;
    };
    assert!(fixed == "--fixed" && !word.contains('\0'));
    // Only the operator's own text begins an option.
    assert!(
        !word.starts_with('-') || template.starts_with('-'),
        "{template:?} {word:?}"
    );
    if parsed.arguments().next().is_none() {
        assert!(word.len() <= template.len());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| run(bytes));
