//! Adds a preset to a configuration: only at the end of files, or as new files, so that comments and order stay the
//! operator's. The result is checked as a whole before anything is written.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use exeat_policy::{Policy, Sources};
use exeat_types::{AgentId, CredentialId, Report, Source};

use super::{Key, Preset};
use crate::settings::{Settings, read_sources};

/// What will be added, checked.
pub(crate) struct Installation {
    additions: Vec<Addition>,
    tools: Vec<String>,
}

/// Text for the end of a file, or for a new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Addition {
    path: PathBuf,
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tools,
    Append,
}

/// Why a preset cannot be added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The configuration has a credential of this name for something else.
    #[error("`[credentials.{0}]` is there already, and does not name this variable in `env`")]
    Taken(CredentialId),
    /// Together they are not valid.
    #[error("it does not fit the configuration")]
    Together(#[source] Box<Report>),
    /// A file cannot be read.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

impl Preset {
    /// Whether its rules are there for some agent.
    pub(crate) fn is_installed(&self, settings: &Settings) -> bool {
        let name = format!("name = \"{}{} for ", super::RULE_PREFIX, self.name);
        read(&settings.policy.file).is_ok_and(|rules| rules.contains(&name))
    }

    /// Works out what this preset adds for an agent whose key is in this variable. Nothing is written.
    ///
    /// # Errors
    /// When the configuration holds something that it does not go together with.
    pub(crate) fn plan(
        &self,
        settings: &Settings,
        key: &Key,
        variable: &str,
        agent: &AgentId,
    ) -> Result<Installation, Unfit> {
        let fill = |text: &str| {
            text.replace("AGENT", agent.as_str())
                .replace("VARIABLE", variable)
        };
        let known = |name: &&&str| settings.credentials.contains_key(**name);
        let configured = settings
            .credentials
            .values()
            .any(|credential| credential.variables.iter().any(|name| name == variable));
        let mut additions = Vec::new();
        match key.credentials.iter().find(known) {
            Some(_) if configured => {}
            Some(name) => {
                if let Ok(id) = CredentialId::new(name) {
                    return Err(Unfit::Taken(id));
                }
            }
            None => additions.push(Addition {
                path: settings.file.clone(),
                text: fill(key.text),
                kind: Kind::Append,
            }),
        }
        for (name, text) in self.tools {
            let path = settings.policy.tools.join(name);
            if !path.exists() {
                additions.push(Addition {
                    path,
                    text: (*text).to_owned(),
                    kind: Kind::Tools,
                });
            }
        }
        let rules = read(&settings.policy.file)?;
        let name = format!("name = \"{}{} for {agent}\"", super::RULE_PREFIX, self.name);
        // Rules that were named for one run are that run's; a preset does not change them.
        if settings.rules_named.is_none() && !rules.contains(&name) {
            additions.push(Addition {
                path: settings.policy.file.clone(),
                text: fill(self.rules),
                kind: Kind::Append,
            });
        }
        Installation::check(settings, additions)
    }
}

impl Installation {
    /// Whether there is nothing to add.
    pub(crate) fn is_empty(&self) -> bool {
        self.additions.is_empty()
    }

    fn check(settings: &Settings, additions: Vec<Addition>) -> Result<Self, Unfit> {
        let tools = tools_of(settings, &additions)?;
        Ok(Self { additions, tools })
    }

    /// Writes everything down, in an order in which each step leaves a valid configuration. It is checked again first, as
    /// another run may have added something meanwhile.
    ///
    /// # Errors
    /// When it does not fit any more, or a file cannot be written.
    pub(crate) fn write(&self, settings: &Settings) -> anyhow::Result<()> {
        let shown = |path: &Path| format!("cannot write `{}`", path.display());
        let held = alone(&settings.file).with_context(|| shown(&settings.file))?;
        tools_of(settings, &self.additions)?;
        for addition in &self.additions {
            addition.write().with_context(|| shown(&addition.path))?;
        }
        drop(held);
        Ok(())
    }
}

/// Keeps other runs from adding to a configuration, as long as the file is held.
///
/// # Errors
/// When there is no such file, or no lock to be had.
pub(crate) fn alone(config: &Path) -> io::Result<File> {
    let file = File::open(config)?;
    file.lock()?;
    Ok(file)
}

/// Checks a configuration with these additions, and describes the tools that they bring.
fn tools_of(settings: &Settings, additions: &[Addition]) -> Result<Vec<String>, Unfit> {
    let together = |report: Report| Unfit::Together(Box::new(report));
    let mut file = Source::new(&settings.file.display().to_string(), &read(&settings.file)?);
    let mut sources = read_sources(&settings.policy).map_err(together)?;
    let before = compile(&sources, settings).map_err(together)?;
    for addition in additions {
        let name = addition.path.display().to_string();
        if addition.kind == Kind::Tools {
            sources.tools.push(Source::new(&name, &addition.text));
            continue;
        }
        let changed = if addition.path == settings.file {
            &mut file
        } else {
            match sources.policy.first_mut() {
                Some(rules) => rules,
                None => continue,
            }
        };
        *changed = Source::new(&name, &format!("{}{}", changed.text, addition.text));
    }
    let fresh = Settings::parse(&settings.file, &file).map_err(together)?;
    let after = compile(&sources, &fresh).map_err(together)?;
    let fresh_tools = after
        .tools()
        .filter(|tool| before.tool(tool.name.as_str()).is_none());
    let described = fresh_tools.map(|tool| {
        format!(
            "{:<22} {} {}{}",
            tool.name, tool.method, tool.origin, tool.template
        )
    });
    Ok(described.collect())
}

/// As people read it before they say yes: the text of what is appended, and the tools by name.
impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for addition in &self.additions {
            writeln!(f, "  {}", addition.path.display())?;
            if addition.kind == Kind::Append {
                for line in addition.text.trim().lines() {
                    writeln!(f, "    {line}")?;
                }
            }
        }
        for tool in &self.tools {
            writeln!(f, "    {tool}")?;
        }
        Ok(())
    }
}

impl Addition {
    /// Adds a text at the end of a file.
    pub(crate) const fn append(path: PathBuf, text: String) -> Self {
        Self {
            path,
            text,
            kind: Kind::Append,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written, or is there although it should be new.
    pub(crate) fn write(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.mode(0o644);
        let text = match self.kind {
            Kind::Tools => {
                options.write(true).create_new(true);
                self.text.clone()
            }
            Kind::Append => {
                options.append(true);
                let open_line = !fs::read(&self.path)?.ends_with(b"\n");
                format!("{}{}", if open_line { "\n" } else { "" }, self.text)
            }
        };
        let mut file = options.open(&self.path)?;
        // SECURITY: a file that others may write is refused when it is read, whatever the umask of this process is.
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

fn compile(sources: &Sources, settings: &Settings) -> Result<Policy, Report> {
    Policy::compile(sources, &settings.world())
}

fn read(path: &Path) -> Result<String, Unfit> {
    fs::read_to_string(path).map_err(|cause| Unfit::Unreadable {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use exeat_types::AgentId;

    use super::*;
    use crate::presets::ALL;

    const CONFIG: &str = "# mine\n[agents.claude]\n[agents.codex]";
    const RULES: &str = "# nothing yet";

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("exeat.toml");
        write(&file, CONFIG);
        write(&place.path().join("policy.toml"), RULES);
        fs::create_dir(place.path().join("tools")).unwrap();
        (place, file)
    }

    fn write(path: &Path, text: &str) {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o644);
        options
            .open(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn load(file: &Path) -> Settings {
        Settings::load(file).unwrap_or_else(|report| panic!("{report}"))
    }

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).unwrap()
    }

    #[test]
    fn every_preset_fits_an_empty_configuration_and_all_fit_together() {
        let (together, file) = place();
        for preset in &ALL {
            for key in preset.keys {
                let (_alone, file) = place();
                let settings = load(&file);
                let plan = preset
                    .plan(&settings, key, key.variables[0], &agent("claude"))
                    .unwrap();
                plan.write(&settings).unwrap();
                let settings = load(&file);
                let variables = settings.credentials.values().flat_map(|one| &one.variables);
                assert!(variables.into_iter().any(|name| name == key.variables[0]));
            }
            let Some(key) = preset.keys.first() else {
                continue;
            };
            for name in ["claude", "codex", "claude"] {
                let settings = load(&file);
                let plan = preset
                    .plan(&settings, key, key.variables[0], &agent(name))
                    .unwrap();
                plan.write(&settings).unwrap();
            }
            let settings = load(&file);
            let again = preset
                .plan(&settings, key, key.variables[0], &agent("claude"))
                .unwrap();
            assert!(again.is_empty(), "{again}");
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with(CONFIG), "{text}");
        let rules = fs::read_to_string(together.path().join("policy.toml")).unwrap();
        assert!(rules.starts_with(RULES), "{rules}");
        let settings = load(&file);
        let policy = compile(&read_sources(&settings.policy).unwrap(), &settings).unwrap();
        assert!(policy.tools().count() > 25);
        for name in ["claude", "codex"] {
            assert!(rules.contains(&format!("name = \"preset github for {name}\"")));
        }
    }

    #[test]
    fn what_was_added_meanwhile_is_not_added_again() {
        let (_place, file) = place();
        let settings = load(&file);
        let plan = || {
            let key = &ALL[0].keys[0];
            ALL[0].plan(&settings, key, key.variables[0], &agent("claude"))
        };
        let (first, second) = (plan().unwrap(), plan().unwrap());
        first.write(&settings).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(second.write(&settings).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        load(&file);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let (place, file) = place();
        let foreign = "[api]\nname = \"mine\"\norigin = \"https://api.anthropic.com\"\n[[tool]]\nname = \"ask\"\n\
                       request = \"POST /v1/messages\"\ncategory = \"write\"\n[tool.input.body]\nmedia = \"binary\"\n";
        write(&place.path().join("tools/mine.toml"), foreign);
        let preset = &ALL[0];
        let plan = |settings: &Settings| {
            preset.plan(
                settings,
                &preset.keys[0],
                "ANTHROPIC_API_KEY",
                &agent("claude"),
            )
        };
        let unfit = plan(&load(&file)).err().unwrap();
        assert!(matches!(unfit, Unfit::Together(_)), "{unfit}");
        assert_eq!(fs::read_to_string(&file).unwrap(), CONFIG);
        assert!(!place.path().join("tools/anthropic.toml").exists());
        let taken = "\n[credentials.anthropic]\nkind = \"bearer\"\nsecret = \"sealed:mine\"\nhosts = [\"api.anthropic.com\"]\n";
        write(&file, &format!("{CONFIG}{taken}"));
        let unfit = plan(&load(&file)).err().unwrap();
        assert!(matches!(unfit, Unfit::Taken(_)), "{unfit}");
    }
}
