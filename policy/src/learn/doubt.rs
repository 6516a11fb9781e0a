//! What speaks against a line: what its run had read before, how new its host is, and what its names look like.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use exeat_types::{AgentId, CallId, Host, Origin, RunId, Scheme, Timestamp};

use super::{Doubt, End, Ground, Seen};

/// A host is new for so long.
const NEW_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Names shorter than this are not looked at.
const RANDOM_CHARS_MIN: usize = 12;
/// Bits a character from which on a name looks random.
const RANDOM_BITS_MIN: f64 = 3.2;

/// Where anybody can leave or collect anything: pastes, catchers of webhooks, tunnels. The host itself and all below it.
/// `docs/LEARN.md` lists them.
pub(super) const DROP_HOSTS: [&str; 38] = [
    "0x0.st",
    "anonfiles.com",
    "beeceptor.com",
    "burpcollaborator.net",
    "catbox.moe",
    "dpaste.com",
    "dpaste.org",
    "file.io",
    "ghostbin.com",
    "gist.githubusercontent.com",
    "hastebin.com",
    "hookbin.com",
    "hookdeck.com",
    "interact.sh",
    "ix.io",
    "justpaste.it",
    "localtunnel.me",
    "loca.lt",
    "mockbin.org",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "ngrok-free.app",
    "oast.fun",
    "oast.pro",
    "oastify.com",
    "paste.ee",
    "paste.rs",
    "pastebin.com",
    "pipedream.net",
    "privatebin.net",
    "requestbin.com",
    "requestcatcher.com",
    "rentry.co",
    "serveo.net",
    "transfer.sh",
    "trycloudflare.com",
    "webhook.site",
];

/// What may have led a run astray.
#[derive(Clone, Copy)]
enum Bad {
    Flag,
    Alarm,
}

impl Bad {
    fn of(seen: &Seen) -> Option<Self> {
        match (seen.end, seen.flagged) {
            (End::Alarm, _) => Some(Self::Alarm),
            (End::Answered | End::Failed, true) => Some(Self::Flag),
            (End::Answered | End::Failed, false) => None,
        }
    }
}

/// What happened in each run, and when each agent first called each host.
pub(super) struct Timeline {
    /// The first thing in each run that what follows may be owed to.
    bad: HashMap<(AgentId, Option<RunId>), (Timestamp, CallId, Bad)>,
    hosts: BTreeMap<(AgentId, Host), Timestamp>,
}

impl Timeline {
    pub(super) fn of(seen: &[Seen]) -> Self {
        let mut bad: HashMap<_, (Timestamp, CallId, Bad)> = HashMap::new();
        let mut hosts: BTreeMap<_, Timestamp> = BTreeMap::new();
        for one in seen {
            if let Some(bad_thing) = Bad::of(one) {
                let here = (one.at, one.call, bad_thing);
                let first = bad
                    .entry((one.agent.clone(), one.run.clone()))
                    .or_insert(here);
                if (here.0, here.1) < (first.0, first.1) {
                    *first = here;
                }
            }
            let key = (one.agent.clone(), one.origin.host.clone());
            let first = hosts.entry(key).or_insert(one.at);
            *first = one.at.min(*first);
        }
        Self { bad, hosts }
    }

    /// What a call may be owed to, if anything. Calls that began at the same moment are taken for later ones.
    pub(super) fn taint(&self, seen: &Seen) -> Option<Doubt> {
        let key = (seen.agent.clone(), seen.run.clone());
        let (at, receipt, what) = self.bad.get(&key)?;
        let own = seen.call == *receipt;
        match what {
            Bad::Alarm if own || seen.at >= *at => Some(Doubt::AfterAlarm { receipt: *receipt }),
            Bad::Flag if !own && seen.at >= *at => Some(Doubt::AfterFlag { receipt: *receipt }),
            Bad::Alarm | Bad::Flag => None,
        }
    }

    /// What speaks against a host that an agent calls.
    pub(super) fn host(&self, agent: &AgentId, origin: &Origin, now: Timestamp) -> BTreeSet<Doubt> {
        let mut doubts = BTreeSet::new();
        let first = self.hosts.get(&(agent.clone(), origin.host.clone()));
        if first.is_none_or(|first| now.since(*first) < NEW_FOR) {
            doubts.insert(Doubt::NewHost);
        }
        if origin.scheme == Scheme::Http {
            doubts.insert(Doubt::PlainHttp);
        }
        let name = origin.host.to_string();
        if is_drop(&name) {
            doubts.insert(Doubt::DropHost);
        }
        if let Host::Name(name) = &origin.host {
            doubts.extend(name.split('.').filter_map(random));
        }
        doubts
    }
}

/// What speaks against a name, if it looks random.
pub(super) fn random(name: &str) -> Option<Doubt> {
    looks_random(name).then(|| Doubt::RandomName {
        name: name.to_owned(),
    })
}

/// Whether a body that nobody read may go there.
pub(super) fn unread(ground: &Ground<'_>, host: &Host) -> Option<Doubt> {
    ground.is_credentialed(host).then_some(Doubt::UnreadBody)
}

fn is_drop(host: &str) -> bool {
    DROP_HOSTS.iter().any(|drop| {
        let rest = host.strip_suffix(drop);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

/// Letters and digits in no order: long, mixed, and nearly every character another one. Words with hyphens are taken apart.
pub(super) fn looks_random(name: &str) -> bool {
    let mut parts = name.split(['-', '_', '.']);
    parts.any(|part| {
        let length = part.chars().count();
        let digits = part.chars().filter(char::is_ascii_digit).count();
        let letters = part.chars().filter(char::is_ascii_alphabetic).count();
        let is_mixed = digits > 0 && letters > 0;
        let vowels = part.chars().filter(|c| "aeiouyAEIOUY".contains(*c)).count();
        let unspoken = vowels.saturating_mul(5) < letters;
        length >= RANDOM_CHARS_MIN && (is_mixed || unspoken) && bits(part) >= RANDOM_BITS_MIN
    })
}

/// Shannon's entropy of the characters.
fn bits(text: &str) -> f64 {
    let mut counts: BTreeMap<char, u32> = BTreeMap::new();
    let mut all = 0_u32;
    for c in text.chars() {
        let count = counts.entry(c).or_default();
        *count = count.saturating_add(1);
        all = all.saturating_add(1);
    }
    let share = |count: &u32| f64::from(*count) / f64::from(all);
    -counts
        .values()
        .map(|n| share(n) * share(n).log2())
        .sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_random_are_told_from_words() {
        for word in [
            "api",
            "issues",
            "getting-started",
            "user-content",
            "internationalization",
            "raw",
            "docs",
            "v1beta1",
            "serde_json",
            "pull-requests",
            "chat-completions",
            "us-east-1",
        ] {
            assert!(!looks_random(word), "{word}");
        }
        for random in [
            "x7f3k9q2m5z8",
            "d41d8cd98f00b204e980",
            "mqzxkvbnwrtpl",
            "a1b2c3d4e5f6g7",
        ] {
            assert!(looks_random(random), "{random}");
        }
    }

    #[test]
    fn drops_are_known_with_everything_below_them() {
        for host in ["webhook.site", "abc.ngrok.io", "x.y.oastify.com"] {
            assert!(is_drop(host), "{host}");
        }
        for host in ["mywebhook.site", "ngrok.io.example", "github.com"] {
            assert!(!is_drop(host), "{host}");
        }
    }
}
