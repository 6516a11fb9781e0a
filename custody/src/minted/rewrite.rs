//! Puts placeholders in the place of the tokens that a response hands out.
//!
//! What the agent gets is made of pieces that were cleaned like any other body, and of placeholders. INVARIANT: every
//! token is looked for in responses before its placeholder exists.

use std::sync::Arc;

use exeat_types::{Secret, Timestamp, limits::SECRET_BYTES_MIN};
use http::{HeaderMap, HeaderValue};

use super::{
    MintRule, MintedAt, MintedPart, MintedToken, Minting,
    places::{self, Found},
    shelf::TOKENS_PER_AGENT_MAX,
};
use crate::{
    Custody,
    live::Wanted,
    redact::{Flags, Formats, Hits, Text, TextRules, Unsafe, Written},
};

/// The label under which tokens of responses are redacted elsewhere.
const LABEL: &str = "minted";
/// What tokens of known kinds begin with, which clients may check.
const PREFIXES: [&str; 19] = [
    "github_pat_",
    "glpat-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "ya29.",
    "xoxb-",
    "xoxp-",
    "xoxe-",
    "xapp-",
    "npm_",
    "pypi-",
    "hf_",
    "sk-",
    "dop_v1_",
    "ASIA",
    "AKIA",
];
/// What other placeholders begin with.
const PREFIX: &str = "exeat_ph_";

/// A body as the agent gets it.
pub struct Rewritten {
    /// The whole body.
    pub body: Vec<u8>,
    /// How many tokens became placeholders.
    pub minted: u64,
    /// What was taken out of the rest.
    pub hits: Hits,
    /// The flags raised in it.
    pub flags: Flags,
}

impl Custody {
    /// Rewrites a whole body: tokens become placeholders, the rest is cleaned as the rules say.
    ///
    /// # Errors
    /// When the body cannot be read, or a token cannot be kept: then nothing of it may be delivered.
    pub fn mint(
        &self,
        minting: &Minting<'_>,
        body: &[u8],
        (rules, written): (&TextRules, Written),
    ) -> Result<Rewritten, Unsafe> {
        let places = places::find(body, minting.rules, minting.now)?;
        let placeholders = self.put_away(minting, &places.found, places.until)?;
        let mut out = Vec::with_capacity(body.len());
        let mut text = Text::new(
            self.live().newest().clone(),
            Formats::Redact,
            (rules, written),
        );
        let mut from = 0;
        for (found, placeholder) in places.found.iter().zip(&placeholders) {
            text.push(
                body.get(from..found.span.start).unwrap_or_default(),
                &mut out,
            );
            text.finish(&mut out);
            out.extend_from_slice(placeholder.as_bytes());
            from = found.span.end;
        }
        text.push(body.get(from..).unwrap_or_default(), &mut out);
        text.finish(&mut out);
        Ok(Rewritten {
            body: out,
            minted: u64::try_from(placeholders.len()).unwrap_or(u64::MAX),
            hits: text.hits(),
            flags: text.flags(),
        })
    }

    /// Rewrites the header fields that hand out tokens; answers how many.
    ///
    /// # Errors
    /// When such a field stands twice, or its token cannot be kept.
    pub fn mint_fields(
        &self,
        minting: &Minting<'_>,
        headers: &mut HeaderMap,
    ) -> Result<u64, Unsafe> {
        let mut minted: u64 = 0;
        for rule in minting.rules {
            let MintedAt::Header(name) = &rule.at else {
                continue;
            };
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(Unsafe::Unkept("a header field of it stands twice"));
            }
            let secret = Secret::new(value.as_bytes().to_vec());
            let found = [Found {
                span: 0..value.len(),
                secret,
                rule,
            }];
            let placeholders = self.put_away(minting, &found, None)?;
            for placeholder in placeholders {
                let value = HeaderValue::try_from(placeholder)
                    .map_err(|_cause| Unsafe::Unkept("a placeholder does not fit"))?;
                headers.insert(name, value);
                minted = minted.saturating_add(1);
            }
        }
        Ok(minted)
    }

    /// Keeps the tokens of one response, and answers their placeholders in the same order.
    fn put_away(
        &self,
        minting: &Minting<'_>,
        found: &[Found<'_>],
        until: Option<Timestamp>,
    ) -> Result<Vec<String>, Unsafe> {
        let Minting { agent, now, .. } = *minting;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if found.iter().any(|one| one.secret.len() < SECRET_BYTES_MIN) {
            return Err(Unsafe::Unkept("a token of it is too short to be one"));
        }
        if found.len() > TOKENS_PER_AGENT_MAX {
            return Err(Unsafe::Unkept(
                "it hands out more than is kept for one agent",
            ));
        }
        let ends = |rule: &MintRule| match rule.part {
            MintedPart::Lasting => None,
            _ => until,
        };
        let live = self.live();
        let secrets: Vec<Arc<Secret>> = found
            .iter()
            .map(|one| Arc::new(one.secret.duplicate()))
            .collect();
        let pairs = secrets.iter().zip(found);
        let wanted: Vec<Wanted<'_>> = pairs
            .map(|(secret, one)| Wanted::of(secret, ends(one.rule)))
            .collect();
        live.register((LABEL, &format!("{LABEL} for {agent}")), &wanted, now)
            .map_err(|_cause| Unsafe::Unkept("a token of it cannot be looked for"))?;
        let response = live.minted().next_response();
        let mut placeholders = Vec::with_capacity(found.len());
        let mut kept = Vec::with_capacity(found.len());
        for (one, secret) in found.iter().zip(secrets) {
            let placeholder = self
                .mint
                .fresh(&prefix(&one.secret, one.rule.part), agent)
                .map_err(|_cause| Unsafe::Unkept("no placeholder can be made"))?;
            let token = MintedToken {
                agent: agent.clone(),
                secret,
                part: one.rule.part,
                to: one.rule.to.clone(),
                slots: one.rule.slots.clone(),
                until: ends(one.rule),
                response,
            };
            kept.push((placeholder.clone(), token));
            placeholders.push(placeholder);
        }
        live.minted().keep(kept);
        Ok(placeholders)
    }
}

/// What a placeholder begins with: what clients check of a token, and of claims all that they read.
#[expect(
    clippy::disallowed_methods,
    reason = "the beginning of a token tells its kind, and claims without their signature are no token"
)]
fn prefix(secret: &Secret, part: MintedPart) -> String {
    let text = String::from_utf8_lossy(secret.open());
    if part == MintedPart::Claims {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some((claims, signature)) = text.rsplit_once('.')
            && !signature.is_empty()
            && claims.chars().all(plain)
            && claims.split('.').count() == 2
        {
            return format!("{claims}.");
        }
    }
    let known = PREFIXES.iter().find(|known| text.starts_with(*known));
    (*known.unwrap_or(&PREFIX)).to_owned()
}
