//! Words for where secrets stand in messages, which tools declare and custody acts on.

/// A part of a Basic pair (RFC 7617 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasicPart {
    /// What stands before the colon.
    User,
    /// What stands behind it.
    Password,
}

/// A response that hands out secrets, and whose form is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MintForm {
    /// A token endpoint of OAuth (RFC 6749 section 5.1), in the spellings that are met.
    Oauth,
    /// Keys of a session, from AWS STS and what answers like it.
    Sts,
    /// A token service of a container registry.
    Registry,
    /// An installation token of a GitHub App.
    Github,
}

impl MintForm {
    /// Every form, with the word in tool files.
    pub const NAMED: [(&'static str, Self); 4] = [
        ("oauth", Self::Oauth),
        ("sts", Self::Sts),
        ("registry", Self::Registry),
        ("github", Self::Github),
    ];

    /// The word in tool files.
    pub fn name(self) -> &'static str {
        let named = Self::NAMED.iter().find(|(_, form)| *form == self);
        named.map_or("", |(name, _)| name)
    }
}
