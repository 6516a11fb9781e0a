//! What one call needs of an installation: which repository, which permissions, and over which transport.
//!
//! It is written in words, as calls with equal words share one token: `repository acme/site`, `permission contents=read`,
//! `git`. What the configuration does not give is a word too, and refuses when the token is to be obtained.

use std::{collections::BTreeMap, str::FromStr};

use exeat_types::Malformed;

use super::GithubApp;
use crate::Asked;

/// Permissions by their name at GitHub, and how far they go: `read`, `write` or `admin`.
pub type Permissions = BTreeMap<String, String>;

const REPOSITORY: &str = "repository ";
const PERMISSION: &str = "permission ";
const DENIED: &str = "not granted: ";
const GIT: &str = "git";

/// Repositories that a token may reach: one, all of an owner (`acme/*`), or all of the installation (`*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    owner: Option<String>,
    name: Option<String>,
}

impl Repository {
    /// Its name without the owner; of several, none.
    pub(super) fn name(&self) -> Option<String> {
        self.name.clone()
    }

    fn full_name(&self) -> Option<String> {
        let (owner, name) = self.owner.as_ref().zip(self.name.as_ref())?;
        Some(format!("{owner}/{name}"))
    }

    fn includes(&self, other: &Self) -> bool {
        let within = |ours: &Option<String>, theirs: &Option<String>| {
            let Some(ours) = ours else { return true };
            theirs
                .as_ref()
                .is_some_and(|theirs| ours.eq_ignore_ascii_case(theirs))
        };
        within(&self.owner, &other.owner) && within(&self.name, &other.name)
    }
}

impl FromStr for Repository {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let wrong = || Malformed::new("repository", "expected `OWNER/NAME`, `OWNER/*` or `*`");
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(known)
        };
        if text == "*" {
            return Ok(Self {
                owner: None,
                name: None,
            });
        }
        let (owner, name) = text.split_once('/').ok_or_else(wrong)?;
        if !plain(owner) || !(plain(name) || name == "*") {
            return Err(wrong());
        }
        Ok(Self {
            owner: Some(owner.to_ascii_lowercase()),
            name: (name != "*").then(|| name.to_ascii_lowercase()),
        })
    }
}

/// What one token is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// None of them for all that the installation has.
    pub(super) repositories: Vec<Repository>,
    pub(super) permissions: Permissions,
    pub(super) git: bool,
    /// What the call needs and the configuration does not give.
    denied: Vec<String>,
}

impl Scope {
    /// What this call needs.
    pub(super) fn of(declared: &GithubApp, request: &Asked<'_>) -> Self {
        let on_api = *request.origin == declared.api.origin;
        let base = if on_api {
            declared.api.target.trim_end_matches('/')
        } else {
            ""
        };
        let (named, git) = repository(request.path, base);
        let mut denied = Vec::new();
        let repositories = match named.map(|name| (name.parse::<Repository>(), name)) {
            Some((Ok(one), _))
                if declared
                    .repositories
                    .iter()
                    .any(|known| known.includes(&one)) =>
            {
                vec![one]
            }
            Some((_, name)) => {
                denied.push(name);
                Vec::new()
            }
            None => {
                let named = |known: &Repository| known.name.is_some();
                let all = declared.repositories.iter();
                if declared.repositories.iter().all(named) {
                    all.cloned().collect()
                } else {
                    Vec::new()
                }
            }
        };
        let known = declared.permissions.get(request.category);
        if known.is_none() && !declared.permissions.is_empty() {
            denied.push(format!("permissions for `{}`", request.category));
        }
        Self {
            repositories,
            permissions: known.cloned().unwrap_or_default(),
            git,
            denied,
        }
    }

    /// The same in words, in an order of their own.
    pub(super) fn words(&self) -> Vec<String> {
        let repositories = self.repositories.iter().filter_map(Repository::full_name);
        let repositories = repositories.map(|name| format!("{REPOSITORY}{name}"));
        let permissions = self.permissions.iter();
        let permissions = permissions.map(|(name, level)| format!("{PERMISSION}{name}={level}"));
        let git = self.git.then(|| GIT.to_owned());
        let denied = self.denied.iter().map(|what| format!("{DENIED}{what}"));
        let mut words: Vec<String> = repositories
            .chain(permissions)
            .chain(git)
            .chain(denied)
            .collect();
        words.sort();
        words.dedup();
        words
    }

    /// Reads the words; what is not granted is the error.
    pub(super) fn read(words: &[String]) -> Result<Self, Vec<String>> {
        let mut scope = Self {
            repositories: Vec::new(),
            permissions: Permissions::new(),
            git: false,
            denied: Vec::new(),
        };
        for word in words {
            let repository = word.strip_prefix(REPOSITORY).map(str::parse::<Repository>);
            let permission = word
                .strip_prefix(PERMISSION)
                .and_then(|rest| rest.split_once('='));
            match (repository, permission) {
                (Some(Ok(repository)), _) => scope.repositories.push(repository),
                (None, Some((name, level))) => {
                    scope.permissions.insert(name.to_owned(), level.to_owned());
                }
                (None, None) if word == GIT => scope.git = true,
                (Some(Err(_)) | None, _) => scope.denied.push(word.clone()),
            }
        }
        if scope.denied.is_empty() {
            Ok(scope)
        } else {
            Err(scope.denied)
        }
    }

    /// Whether what was granted is no more than this. GitHub names repositories only when they were asked for.
    pub(super) fn covers(&self, repositories: &[&str], permissions: &Permissions) -> bool {
        let known = |name: &str| {
            name.parse::<Repository>()
                .is_ok_and(|one| self.repositories.iter().any(|own| own.includes(&one)))
        };
        let counted = self.repositories.is_empty() || repositories.len() == self.repositories.len();
        let named = self.repositories.is_empty() || repositories.iter().all(|name| known(name));
        // GitHub adds `metadata=read` to whatever is asked for.
        let asked = |(name, level): (&String, &String)| {
            name == "metadata" && level == "read" || self.permissions.get(name) == Some(level)
        };
        counted && named && (self.permissions.is_empty() || permissions.iter().all(asked))
    }
}

/// The repository that a path names, as it is written there, and whether the path is one of Git's own.
fn repository(path: &str, api: &str) -> (Option<String>, bool) {
    let mut parts = path
        .strip_prefix(api)
        .unwrap_or_default()
        .split('/')
        .skip(1);
    if parts.next() == Some("repos") {
        let pair = parts.next().zip(parts.next());
        return (pair.map(|(owner, name)| format!("{owner}/{name}")), false);
    }
    let mut parts = path.split('/').skip(1);
    let Some((owner, name)) = parts.next().zip(parts.next()) else {
        return (None, false);
    };
    if !matches!(
        parts.next(),
        Some("info" | "git-upload-pack" | "git-receive-pack")
    ) {
        return (None, false);
    }
    let name = name.strip_suffix(".git").unwrap_or(name);
    (Some(format!("{owner}/{name}")), true)
}
