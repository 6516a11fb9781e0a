//! `[tool.exec]` and `[tool.sign]`: tools that are programs on this machine, and the one place where such tools live.

use std::{path::PathBuf, time::Duration};

use exeat_types::{
    Host, Report,
    config::{Item, Table},
    did_you_mean,
};
use http::Method;

use super::{request_line::RequestLine, size};
use crate::{
    Tool,
    cedar::{Untyped, argument_shape},
    local::{Exec, Local, Options, Output, Sign, SignFormat, Stdin, Template},
};

/// The name below which programs are called. No resolver knows it, and nothing that bears it ever leaves.
pub(crate) const HOME: &str = "exeat.internal";

/// Longest time that a program may be given.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// How long a program may take that says nothing else.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a signature may take: somebody types a passphrase.
const SIGN_TIMEOUT: Duration = Duration::from_secs(60);
/// The most that a program may write when it says nothing else, in bytes.
const OUTPUT_BYTES: usize = 1024 * 1024;
/// The most that can be asked for.
const OUTPUT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads either table, if there is one.
pub(super) fn local(
    table: &Table<'_>,
    line: Option<&RequestLine>,
    report: &mut Report,
) -> Option<Local> {
    let (exec, sign) = (table.get("exec"), table.get("sign"));
    if let (Some(_), Some(sign)) = (exec, sign) {
        sign.problem(report, "`exec` and `sign` stand side by side");
        return None;
    }
    if let (Some(item), Some(line)) = (exec.or(sign), line) {
        let methods = [
            Method::POST,
            Method::GET,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let fits = match sign {
            Some(_) => line.method == Method::POST,
            None => methods.contains(&line.method),
        };
        if !fits {
            let message = format!("a program is not called by `{}`", line.method);
            item.problem(report, message).help("write `POST`");
        }
    }
    match (exec, sign) {
        (Some(item), _) => read_exec(&item.table(report)?, report).map(Local::Exec),
        (None, Some(item)) => read_sign(&item.table(report)?, report).map(Local::Sign),
        (None, None) => None,
    }
}

/// What can be said only once the whole tool is known.
pub(super) fn check(tool: &Tool, table: &Table<'_>, report: &mut Report) {
    let inside = match &tool.origin.host {
        Host::Name(name) => {
            let rest = name.strip_suffix(HOME);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }
        Host::Ip(_) => false,
    };
    let mut say = |message: String, help: &str| {
        report
            .at(table.source(), table.span(), message)
            .help(help.to_owned());
    };
    let Some(local) = &tool.local else {
        if inside {
            let message = format!(
                "`{}` is no host: only programs are called there",
                tool.origin
            );
            say(message, "say what runs in `[tool.exec]`");
        }
        return;
    };
    if !inside {
        let message = "a program is not called at a host".to_owned();
        say(message, "write `origin = \"https://tools.exeat.internal\"`");
    }
    if tool.credential.is_some() {
        say(
            "a program gets no credential".to_owned(),
            "leave `credential` out; what the program needs goes into files that it may read",
        );
    }
    let Local::Exec(exec) = local else { return };
    for name in exec.argv.arguments() {
        let problem = match argument_shape(tool, name) {
            Ok(attribute) if attribute.is_required_scalar() => continue,
            Ok(_) => "is not a required string, integer or boolean".to_owned(),
            Err(Untyped::Missing) => {
                let near = did_you_mean(name, tool.argument_names());
                let near = near.map(|near| format!("; did you mean `{near}`?"));
                format!("is not in `[tool.input]`{}", near.unwrap_or_default())
            }
            Err(Untyped::Inexact(_, what)) => what,
        };
        say(
            format!("the argument `{name}` of the command {problem}"),
            "each `{name}` in `argv` has to be a required string, integer or boolean",
        );
    }
}

fn read_exec(table: &Table<'_>, report: &mut Report) -> Option<Exec> {
    let options = match table.get("options").and_then(|item| item.flag(report)) {
        Some(true) => Options::Accepted,
        Some(false) | None => Options::Refused,
    };
    let argv = table.need("argv", report);
    let argv = argv.and_then(|item| template(item, options, report));
    let stdin = table
        .get("stdin")
        .and_then(|item| item.word(report, &STDIN));
    let output = table
        .get("output")
        .and_then(|item| item.word(report, &OUTPUT));
    let output_max = match table.get("output-max") {
        None => OUTPUT_BYTES,
        Some(item) => match size(item, report)? {
            bytes if bytes <= OUTPUT_BYTES_MAX => bytes,
            _ => {
                item.problem(report, "expected at most 8 MiB");
                return None;
            }
        },
    };
    let exec = (
        table
            .get("timeout")
            .map_or(Some(TIMEOUT), |item| time(item, report)),
        paths(table.get("read"), report),
        paths(table.get("write"), report),
        table.get("workdir").and_then(|item| path(item, report)),
        environment(table.get("env"), report),
        table.get("agent").and_then(|item| item.parse(report)),
    );
    table.finish(report);
    let (timeout, read, write, workdir, env, agent) = exec;
    Some(Exec {
        argv: argv?,
        stdin: stdin.unwrap_or_default(),
        output: output.unwrap_or_default(),
        timeout: timeout?,
        output_max,
        read,
        write,
        workdir,
        agent,
        env,
    })
}

fn read_sign(table: &Table<'_>, report: &mut Report) -> Option<Sign> {
    let format = table.need("format", report);
    let format = format.and_then(|item| item.word(report, &FORMATS));
    let key_item = table.need("key", report);
    let key = key_item
        .and_then(|item| item.text(report))
        .map(str::to_owned);
    let program = table.get("program").and_then(|item| path(item, report));
    let home = table.get("home").and_then(|item| path(item, report));
    let timeout = match table.get("timeout") {
        None => Some(SIGN_TIMEOUT),
        Some(item) => time(item, report),
    };
    table.finish(report);
    let (format, key, item) = (format?, key?, key_item?);
    let usual = match format {
        SignFormat::OpenPgp => "/usr/bin/gpg",
        SignFormat::Ssh => "/usr/bin/ssh-keygen",
    };
    let fits = match format {
        SignFormat::OpenPgp => !key.is_empty() && !key.starts_with('-'),
        SignFormat::Ssh => key.starts_with('/'),
    };
    if !fits {
        let problem = item.problem(report, "not the name of a key");
        problem.help("a fingerprint for `openpgp`; the full path of a key file for `ssh`");
        return None;
    }
    Some(Sign {
        format,
        program: program.unwrap_or_else(|| PathBuf::from(usual)),
        key,
        home,
        timeout: timeout?,
    })
}

const STDIN: [(&str, Stdin); 3] = [
    ("none", Stdin::Nothing),
    ("json", Stdin::Json),
    ("body", Stdin::Body),
];
const OUTPUT: [(&str, Output); 3] = [
    ("text", Output::Text),
    ("json", Output::Json),
    ("bytes", Output::Bytes),
];
const FORMATS: [(&str, SignFormat); 2] =
    [("openpgp", SignFormat::OpenPgp), ("ssh", SignFormat::Ssh)];

fn template(item: Item<'_>, options: Options, report: &mut Report) -> Option<Template> {
    let items = item.items(report);
    let texts: Option<Vec<&str>> = items.iter().map(|item| item.text(report)).collect();
    let texts = texts?;
    let Some((program, words)) = texts.split_first() else {
        item.problem(report, "expected a program");
        return None;
    };
    let program = path(*items.first()?, report).filter(|_| !program.contains(['{', '}']));
    let Some(program) = program else {
        item.problem(report, "which program runs is not for arguments to say");
        return None;
    };
    match Template::parse(program, words, options) {
        Ok(template) => Some(template),
        Err((index, problem)) => {
            let place = items.get(index.saturating_add(1)).copied().unwrap_or(item);
            place.problem(report, problem);
            None
        }
    }
}

/// A path that means the same wherever it is read.
fn path(item: Item<'_>, report: &mut Report) -> Option<PathBuf> {
    let text = item.text(report)?;
    let plain = |part: &str| part != "." && part != "..";
    let fits = text.starts_with('/') && text.split('/').all(plain) && !text.contains('\0');
    if !fits {
        let problem = item.problem(report, "expected a full path");
        problem.help("a path that begins with `/`, without `.` and `..` in it");
        return None;
    }
    Some(PathBuf::from(text))
}

fn paths(item: Option<Item<'_>>, report: &mut Report) -> Vec<PathBuf> {
    let items = item.map(|item| item.items(report)).unwrap_or_default();
    let mut paths = Vec::new();
    for item in items {
        match path(item, report) {
            Some(path) if path.parent().is_none() => {
                item.problem(report, "the whole filesystem is never granted");
            }
            other => paths.extend(other),
        }
    }
    paths
}

fn environment(item: Option<Item<'_>>, report: &mut Report) -> Vec<(String, String)> {
    let Some(table) = item.and_then(|item| item.table(report)) else {
        return Vec::new();
    };
    let mut variables = Vec::new();
    for (name, at, item) in table.entries() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) || name.starts_with("LD_") {
            report.at(
                table.source(),
                at,
                format!("`{name}` is not a variable that can be set"),
            );
            continue;
        }
        let value = item.text(report).filter(|value| !value.contains('\0'));
        variables.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }
    variables
}

/// A time: a number with `s` or `m`.
fn time(item: Item<'_>, report: &mut Report) -> Option<Duration> {
    let text = item.text(report)?;
    let seconds = match (text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), _) => number.parse::<u64>().ok(),
        (None, Some(number)) => number.parse::<u64>().ok().and_then(|n| n.checked_mul(60)),
        (None, None) => None,
    };
    let time = seconds.map(Duration::from_secs);
    let time = time.filter(|time| !time.is_zero() && *time <= TIMEOUT_MAX);
    if time.is_none() {
        item.problem(
            report,
            "expected a time such as `30s` or `5m`, at most `10m`",
        );
    }
    time
}
