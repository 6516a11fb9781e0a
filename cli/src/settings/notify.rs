//! Reads `[[notify]]`: where people are told that a question waits.

use exeat_console::Channel;
use exeat_custody::SecretRef;
use exeat_types::{
    Origin, Report,
    config::{Item, Table},
};

use super::{
    mask,
    raw::{Placed, placed, text, texts},
};

/// Push services of the browsers in use, where the file names none.
const PUSH_SERVICES: [&str; 4] = [
    "https://fcm.googleapis.com",
    "https://updates.push.services.mozilla.com",
    "https://web.push.apple.com",
    "https://wns2-par02p.notify.windows.com",
];

/// A kind, by its word.
#[derive(Clone, Copy)]
enum Word {
    Desktop,
    Ntfy,
    Webhook,
    WebPush,
    Command,
}

const WORDS: &[(&str, Word)] = &[
    ("desktop", Word::Desktop),
    ("ntfy", Word::Ntfy),
    ("webhook", Word::Webhook),
    ("web-push", Word::WebPush),
    ("command", Word::Command),
];

/// Reads every channel, with the place of each for what is checked later.
pub(super) fn read(item: &Item<'_>, report: &mut Report) -> Vec<Placed<Channel>> {
    let items = item.items(report);
    let channels = items.iter().filter_map(|item| {
        let table = item.table(report)?;
        let channel = channel(&table, report);
        table.finish(report);
        Some(Placed::new(item, channel?))
    });
    channels.collect()
}

fn channel(table: &Table<'_>, report: &mut Report) -> Option<Channel> {
    let word = table
        .need("kind", report)
        .and_then(|item| item.word(report, WORDS))?;
    match word {
        Word::Desktop => Some(Channel::Desktop),
        Word::Ntfy => {
            let topic = table.need("topic", report).and_then(|item| {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                let topic = item.text(report)?;
                if topic.is_empty() || topic.len() > 64 || !topic.chars().all(plain) {
                    item.problem(report, "expected up to 64 letters, digits, `_` and `-`");
                    return None;
                }
                Some(topic.to_owned())
            });
            let token = table.get("secret");
            let token = token.and_then(|item| reference(&item, report));
            Some(Channel::Ntfy {
                origin: origin(table, report)?,
                topic: topic?,
                token,
            })
        }
        Word::Webhook => {
            let path = table
                .need("secret", report)
                .and_then(|item| reference(&item, report));
            Some(Channel::Webhook {
                origin: origin(table, report)?,
                path: path?,
            })
        }
        Word::WebPush => Some(web_push(table, report)),
        Word::Command => command(table, report),
    }
}

fn web_push(table: &Table<'_>, report: &mut Report) -> Channel {
    let named = table.get("origins").is_some();
    let origins = texts::<Origin>(table, "origins", report);
    let mut origins: Vec<Origin> = origins.into_iter().map(|origin| origin.value).collect();
    if !named {
        origins.extend(PUSH_SERVICES.iter().filter_map(|text| text.parse().ok()));
    }
    let contact = text(table, "contact", report);
    if let Some(contact) = &contact
        && !contact.starts_with("mailto:")
        && !contact.starts_with("https://")
        && let Some(item) = table.get("contact")
    {
        item.problem(report, "expected `mailto:` or `https://`");
    }
    Channel::WebPush { origins, contact }
}

fn command(table: &Table<'_>, report: &mut Report) -> Option<Channel> {
    let item = table.need("command", report)?;
    let words = item.items(report);
    let words: Option<Vec<String>> = words
        .iter()
        .map(|word| word.text(report).map(str::to_owned))
        .collect();
    let words = words?;
    if !words
        .first()
        .is_some_and(|program| program.starts_with('/'))
    {
        item.problem(
            report,
            "expected the full path of a program, and its arguments",
        );
        return None;
    }
    Some(Channel::Command(words))
}

fn origin(table: &Table<'_>, report: &mut Report) -> Option<Origin> {
    let item = table.need("url", report)?;
    placed::<Origin>(&item, report).map(|origin| origin.value)
}

/// A reference, as it is written. Anything else may be the secret itself, and is not repeated.
fn reference(item: &Item<'_>, report: &mut Report) -> Option<String> {
    let text = item.text(report)?;
    if !mask::is_reference(text) {
        item.problem(report, "a secret does not belong in this file")
            .label("not shown")
            .help("store it with `exeat secret set NAME` and write `secret = \"sealed:NAME\"`");
        return None;
    }
    item.parse::<SecretRef>(report).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use exeat_types::{Source, config::Document};

    use super::*;

    fn read_all(text: &str) -> (Vec<Channel>, Vec<String>) {
        let (source, mut report) = (Source::new("exeat.toml", text), Report::new());
        let document = Document::parse(&source, &mut report);
        let list = document.root().get("notify").unwrap();
        let channels = read(&list, &mut report).into_iter();
        let channels = channels.map(|placed| placed.value).collect();
        let problems = report.problems().iter();
        (channels, problems.map(|one| one.message.clone()).collect())
    }

    #[track_caller]
    fn check(text: &str, part: &str) {
        let (channels, problems) = read_all(&format!("[[notify]]\n{text}\n"));
        assert!(channels.is_empty(), "{channels:?}");
        assert!(problems.join("; ").contains(part), "{problems:?}");
        assert!(!problems.join("; ").contains("CANARY"));
    }

    #[test]
    fn every_kind_of_channel_is_read() {
        let (channels, problems) = read_all(
            "[[notify]]\nkind = \"desktop\"\n[[notify]]\nkind = \"ntfy\"\nurl = \"https://n.example\"\ntopic = \"t\"\n\
             secret = \"sealed:n\"\n[[notify]]\nkind = \"webhook\"\nurl = \"https://h.example\"\nsecret = \"sealed:h\"\n\
             [[notify]]\nkind = \"web-push\"\n[[notify]]\nkind = \"command\"\ncommand = [\"/bin/tell\", \"me\"]\n",
        );
        let words: Vec<&str> = channels.iter().map(Channel::word).collect();
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(words, ["desktop", "ntfy", "webhook", "web-push", "command"]);
        assert_eq!(
            channels.get(3).unwrap().origins().len(),
            PUSH_SERVICES.len()
        );
    }

    #[test]
    fn a_channel_that_cannot_work_or_holds_a_secret_is_refused() {
        check("kind = \"pigeon\"", "pigeon");
        check(
            "kind = \"ntfy\"\nurl = \"https://n.example\"\ntopic = \"a/b\"",
            "letters, digits",
        );
        check(
            "kind = \"webhook\"\nurl = \"https://h.example\"\nsecret = \"/services/CANARY-hook\"",
            "does not belong in this file",
        );
        check("kind = \"command\"\ncommand = [\"tell\"]", "full path");
    }
}
