//! `exeat receipt verify`: an export checked offline, with nothing but a key that came another way.

use std::{fs, io::BufReader};

use anyhow::{Context as _, anyhow};
use exeat_ledger::{
    NoteKey,
    verify::{Signatures, Verdict, verify_export, verify_folder},
};
use serde_json::{Value, json};

use super::Place;
use crate::{
    args::Verify,
    ui::{self, Ending, Output, Paint},
};

pub(super) fn verify(place: &Place, order: &Verify) -> anyhow::Result<Ending> {
    let text = |path: &std::path::Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
    };
    let key: NoteKey = text(&order.key)?
        .parse()
        .map_err(|problem| anyhow!("`{}`: {problem}", order.key.display()))?;
    let anchor = order.anchor.as_deref().map(text).transpose()?;
    let verified = if order.file.is_dir() {
        verify_folder(&order.file, &key, anchor.as_deref(), Signatures::Every)
    } else {
        let file = fs::File::open(&order.file)
            .with_context(|| format!("cannot read `{}`", order.file.display()))?;
        verify_export(
            BufReader::new(file),
            &key,
            anchor.as_deref(),
            Signatures::Every,
        )
    };
    match verified {
        Ok(verdict) => {
            let ending = if verdict.tail_is_proven() {
                Ending::Done
            } else {
                Ending::Unproven
            };
            place.print(&with_verdict(&verdict), || told(&verdict))?;
            Ok(ending)
        }
        Err(failure) => {
            if place.output == Output::Json {
                ui::json(
                    &json!({ "verdict": "broken", "place": failure.place, "problem": failure.problem }),
                )?;
            } else {
                ui::data(format_args!(
                    "{}: {failure}",
                    Paint::on_stdout().red("broken")
                ))?;
            }
            Ok(Ending::Refused)
        }
    }
}

fn with_verdict(verdict: &Verdict) -> Value {
    let mut value = json!(verdict);
    if let Value::Object(members) = &mut value {
        let word = if verdict.tail_is_proven() {
            "proven"
        } else {
            "tail-unproven"
        };
        members.insert("verdict".to_owned(), Value::from(word));
    }
    value
}

fn told(verdict: &Verdict) -> String {
    let paint = Paint::on_stdout();
    let first = match verdict.anchored_to {
        Some(size) => format!(
            "{}: complete to {}, anchored at {size}",
            paint.green("proven"),
            verdict.complete_to
        ),
        None => format!(
            "{}: complete to {}, tail unproven",
            paint.bold("right as far as it goes"),
            verdict.complete_to
        ),
    };
    let Verdict {
        calls,
        open,
        unknown,
        refusals,
        checkpoints,
        hidden,
        approved,
        approved_unsigned,
        ..
    } = verdict;
    let approvals = if *approved == 0 && *approved_unsigned == 0 {
        String::new()
    } else {
        format!(
            "\n{approved} calls approved with passkeys, every signature checked; {approved_unsigned} approved otherwise"
        )
    };
    format!(
        "{first}\n{calls} calls ({open} open, {unknown} with unknown end), {refusals} refusals, \
         {checkpoints} checkpoints, {hidden} records left out{approvals}"
    )
}
