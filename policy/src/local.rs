//! Tools that are programs on this machine: what runs, with which words, and what it may touch.
//!
//! Policy only knows what was declared and makes the words of a call; it starts nothing. INVARIANT: no shell reads the
//! words, each argument is exactly one of them or a part of one, and none becomes an option unless the operator said so.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use exeat_types::{AgentId, Report, Source};
use serde_json::{Map, Value};

use crate::{Arguments, Tool, Violation, declare};

/// Longest word that a program is given; the kernel takes 128 KiB.
const WORD_BYTES_MAX: usize = 64 * 1024;

/// What runs instead of a request that leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// A program in a sandbox of its own.
    Exec(Exec),
    /// The program that signs commits and tags with the operator's key.
    Sign(Sign),
}

/// A program in a sandbox of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Program and words, with places for arguments.
    pub argv: Template,
    /// What it reads on its standard input.
    pub stdin: Stdin,
    /// What its standard output is taken for.
    pub output: Output,
    /// How long it may take.
    pub timeout: Duration,
    /// The most it may write to its standard output, in bytes.
    pub output_max: usize,
    /// Where it may read, besides programs and libraries of the system.
    pub read: Vec<PathBuf>,
    /// Where it may write.
    pub write: Vec<PathBuf>,
    /// The folder it begins in; a temporary one of its own otherwise.
    pub workdir: Option<PathBuf>,
    /// As whom it may ask for things on the network, under the rules of that agent; without one it has no network.
    pub agent: Option<AgentId>,
    /// Its environment, besides the few variables that every program expects.
    pub env: Vec<(String, String)>,
}

/// Signing with a key that stays outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// The form of the signature.
    pub format: SignFormat,
    /// The program that signs.
    pub program: PathBuf,
    /// The key: a fingerprint or address for OpenPGP, a file for SSH.
    pub key: String,
    /// The folder with the keys of GnuPG, if not the usual one.
    pub home: Option<PathBuf>,
    /// How long it may take; somebody may be asked for a passphrase.
    pub timeout: Duration,
}

/// The forms of signatures that git knows and that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignFormat {
    /// OpenPGP, by GnuPG.
    OpenPgp,
    /// SSH signatures (`SSHSIG`) in the namespace `git`.
    Ssh,
}

/// What a program reads on its standard input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    #[default]
    Nothing,
    /// The arguments as one JSON object.
    Json,
    /// The body of the request as it came.
    Body,
}

/// What the standard output of a program is taken for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Output {
    /// UTF-8 text.
    #[default]
    Text,
    /// One JSON value.
    Json,
    /// Any bytes.
    Bytes,
}

/// Whether an argument may stand where a program looks for options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Options {
    /// A word that would begin with `-` by what the agent said is refused.
    #[default]
    Refused,
    /// The operator knows that it does no harm.
    Accepted,
}

/// A program and its words, with places for arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The program, by its full path.
    pub program: PathBuf,
    words: Vec<Word>,
    options: Options,
}

/// One word: literal pieces and arguments in turn.
type Word = Vec<Piece>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Argument(String),
}

impl Template {
    /// Reads the words behind the program: `{name}` stands for an argument, `{{` and `}}` for braces.
    ///
    /// # Errors
    /// The index of the word that cannot be read, and why.
    pub fn parse(
        program: PathBuf,
        words: &[&str],
        options: Options,
    ) -> Result<Self, (usize, &'static str)> {
        let words = words.iter().enumerate();
        let words = words.map(|(index, text)| parse_word(text).map_err(|problem| (index, problem)));
        Ok(Self {
            program,
            words: words.collect::<Result<_, _>>()?,
            options,
        })
    }

    /// The names of the arguments that stand in the words.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        let pieces = self.words.iter().flatten();
        pieces.filter_map(|piece| match piece {
            Piece::Argument(name) => Some(&**name),
            Piece::Text(_) => None,
        })
    }

    /// Words of the operator that are full paths: a script, as a rule.
    fn named_files(&self) -> impl Iterator<Item = PathBuf> {
        self.words.iter().filter_map(|word| match word.as_slice() {
            [Piece::Text(text)] if text.starts_with('/') => Some(PathBuf::from(text)),
            _ => None,
        })
    }

    /// The words of a call, where `value` gives each argument.
    ///
    /// # Errors
    /// The name of the argument that is missing or does not fit, and why.
    pub fn render<'v>(
        &self,
        value: impl Fn(&str) -> Option<&'v Value>,
    ) -> Result<Vec<String>, (String, &'static str)> {
        self.words
            .iter()
            .map(|word| self.word(word, &value))
            .collect()
    }

    fn word<'v>(
        &self,
        word: &Word,
        value: &impl Fn(&str) -> Option<&'v Value>,
    ) -> Result<String, (String, &'static str)> {
        let mut text = String::new();
        for piece in word {
            let name = match piece {
                Piece::Text(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Piece::Argument(name) => name,
            };
            let refuse = |problem| Err((name.clone(), problem));
            let said = match value(name) {
                Some(Value::String(said)) => said.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                    return refuse("does not fit into one word of a command");
                }
                None => return refuse("is missing, and the command needs it"),
            };
            if said.contains('\0') {
                return refuse("holds a zero byte");
            }
            text.push_str(&said);
            if text.len() > WORD_BYTES_MAX {
                return refuse("is too long for a command");
            }
        }
        // SECURITY: what an agent says, or leaves empty, must not make an option of the program.
        match word.first() {
            Some(Piece::Argument(name))
                if text.starts_with('-') && self.options == Options::Refused =>
            {
                let problem = "begins with `-`, which the program would take for an option";
                Err((name.clone(), problem))
            }
            _ => Ok(text),
        }
    }
}

fn parse_word(text: &str) -> Result<Word, &'static str> {
    let (mut word, mut literal, mut rest) = (Word::new(), String::new(), text);
    if text.contains('\0') {
        return Err("a zero byte");
    }
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at_checked(at).ok_or("cut off")?;
        literal.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else {
            let inner = from
                .strip_prefix('{')
                .ok_or("`}` without `{`; write `}}`")?;
            let (name, after) = inner.split_once('}').ok_or("`{` without `}`; write `{{`")?;
            if name.is_empty() || name.contains('{') {
                return Err("expected the name of an argument in braces");
            }
            if !literal.is_empty() {
                word.push(Piece::Text(std::mem::take(&mut literal)));
            }
            word.push(Piece::Argument(name.to_owned()));
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        word.push(Piece::Text(literal));
    }
    Ok(word)
}

/// Files that tools of this machine depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Depends {
    /// Programs and scripts: nothing that runs for an agent may change them.
    pub programs: Vec<PathBuf>,
    /// Keys: nothing that runs for an agent may read them.
    pub keys: Vec<PathBuf>,
}

impl Depends {
    /// What the tools of these files depend on, by full path.
    pub fn of(files: &[Source]) -> Self {
        // What is wrong in them is told by whoever loads them.
        let mut report = Report::new();
        let declared = files
            .iter()
            .flat_map(|file| declare::read(file, &mut report));
        let declared: Vec<_> = declared.collect();
        Self::on(declared.iter().map(|one| &*one.tool))
    }

    /// What these tools depend on.
    pub fn on<'t>(tools: impl IntoIterator<Item = &'t Tool>) -> Self {
        let mut depends = Self::default();
        for tool in tools {
            match &tool.local {
                Some(Local::Exec(exec)) => {
                    depends.programs.push(exec.argv.program.clone());
                    depends.programs.extend(exec.argv.named_files());
                }
                Some(Local::Sign(sign)) => {
                    depends.programs.push(sign.program.clone());
                    depends.keys.extend(sign.home.clone());
                    // Where the public half or a certificate is named, the private one lies beside it, unless an agent of
                    // SSH has it.
                    let private = sign.key.strip_suffix("-cert.pub");
                    let private = private.or_else(|| sign.key.strip_suffix(".pub"));
                    let private = private.unwrap_or(&sign.key);
                    let is_file = sign.format == SignFormat::Ssh;
                    depends.keys.extend(is_file.then(|| private.into()));
                }
                None => {}
            }
        }
        depends
    }
}

impl Tool {
    /// The words behind the program, when the tool is one that runs here.
    ///
    /// # Errors
    /// The argument that does not fit into them.
    pub fn words(&self, arguments: &Arguments) -> Result<Vec<String>, Violation> {
        let Some(Local::Exec(exec)) = &self.local else {
            return Ok(Vec::new());
        };
        let words = exec.argv.render(|name| self.argument(arguments, name));
        words.map_err(|(name, problem)| {
            let section = self
                .input
                .names
                .get(&name)
                .map_or("request", |place| place.section);
            Violation::new(format!("{section}.{name}"), problem)
        })
    }

    /// The program that runs, when the tool is one.
    pub fn runs(&self) -> Option<&Path> {
        self.local.as_ref().map(|local| match local {
            Local::Exec(exec) => &*exec.argv.program,
            Local::Sign(sign) => &*sign.program,
        })
    }

    /// The arguments as one flat object, under the names that rules use.
    pub fn flat(&self, arguments: &Arguments) -> Value {
        let names = self.input.names.keys();
        let members = names.filter_map(|name| {
            let value = self.argument(arguments, name)?;
            Some((name.clone(), value.clone()))
        });
        Value::Object(members.collect::<Map<_, _>>())
    }

    pub(crate) fn argument<'v>(&self, arguments: &'v Arguments, name: &str) -> Option<&'v Value> {
        let place = self.input.names.get(name)?;
        let section = arguments.value.get(place.section)?;
        match &place.member {
            Some(member) => section.get(member),
            None => Some(section),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_private_half_of_a_named_public_key_is_a_key_too() {
        for key in ["/k/id", "/k/id.pub", "/k/id-cert.pub"] {
            let text = format!(
                "[api]\nname = \"a\"\norigin = \"https://a.exeat.internal\"\n[[tool]]\nname = \"s\"\n\
                 request = \"POST /s\"\ncategory = \"write\"\n[tool.sign]\nformat = \"ssh\"\n\
                 program = \"/bin/true\"\nkey = \"{key}\"\n"
            );
            let depends = Depends::of(&[Source::new("a.toml", &text)]);
            assert_eq!(depends.keys, [PathBuf::from("/k/id")], "{key}");
        }
    }

    fn render(words: &[&str], options: Options, said: &Value) -> Result<Vec<String>, String> {
        let template = Template::parse("/bin/true".into(), words, options).unwrap();
        let rendered = template.render(|name| said.get(name));
        rendered.map_err(|(name, _)| name)
    }

    #[test]
    fn an_argument_is_one_word_or_a_part_of_one_whatever_it_holds() {
        let said = json!({"a": "x y; $(id) 'q' \"{b}\"\n", "n": 7, "f": true, "e": ""});
        let words = ["-v", "{a}", "--n={n}/{f}", "{e}", "{{a}}"];
        let rendered = render(&words, Options::Refused, &said).unwrap();
        let expect = ["-v", "x y; $(id) 'q' \"{b}\"\n", "--n=7/true", "", "{a}"];
        assert_eq!(rendered, expect);
    }

    #[test]
    fn no_argument_becomes_an_option() {
        let empty = json!({"a": ""});
        assert!(render(&["{a}-rf"], Options::Refused, &empty).is_err());
        for value in [json!("-rf"), json!("--exec=x"), json!("-"), json!(-1)] {
            let said = json!({"a": value, "e": ""});
            for words in [["{a}"], ["{e}{a}"]] {
                assert!(render(&words, Options::Refused, &said).is_err(), "{value}");
            }
            assert!(render(&["{a}"], Options::Accepted, &said).is_ok());
            assert!(render(&["--x={a}"], Options::Refused, &said).is_ok());
            assert!(render(&["./{a}"], Options::Refused, &said).is_ok());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for said in [
            json!({}),
            json!({"a": null}),
            json!({"a": ["x"]}),
            json!({"a": "x\0y"}),
        ] {
            assert_eq!(
                render(&["{a}"], Options::Accepted, &said),
                Err("a".to_owned())
            );
        }
        let long = json!({"a": "x".repeat(WORD_BYTES_MAX + 1)});
        assert!(render(&["{a}"], Options::Refused, &long).is_err());
        for word in ["{", "}", "{}", "a{b", "{a{b}}", "x\0"] {
            let parsed = Template::parse("/bin/true".into(), &["ok", word], Options::Refused);
            assert_eq!(parsed.unwrap_err().0, 1, "{word}");
        }
    }
}
