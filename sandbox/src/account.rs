//! Who the user of this process is in the table of accounts, whatever the environment says.
//!
//! `$HOME` can be set to anything, and the files that shells start with lie where the account says. Only `/etc/passwd` is
//! read: accounts that live in a directory service are not found here.

use std::{fs, path::PathBuf};

use rustix::process::geteuid;

const ACCOUNTS: &str = "/etc/passwd";

/// The home folder of this user's account, when `/etc/passwd` has one that is not the whole filesystem.
pub fn account_home() -> Option<PathBuf> {
    account().map(|account| account.home)
}

/// The name of this user's account.
pub(crate) fn account_name() -> Option<String> {
    account().map(|account| account.name)
}

#[derive(Debug, PartialEq, Eq)]
struct Account {
    name: String,
    home: PathBuf,
}

fn account() -> Option<Account> {
    let table = fs::read(ACCOUNTS).ok()?;
    find(&String::from_utf8_lossy(&table), geteuid().as_raw())
}

fn find(table: &str, uid: u32) -> Option<Account> {
    let accounts = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, number, home) = (fields.next()?, fields.nth(1)?, fields.nth(2)?);
        (number.parse() == Ok(uid)).then_some((name, home))
    });
    let mut homes = accounts.filter(|(_, home)| home.starts_with('/') && *home != "/");
    homes.next().map(|(name, home)| Account {
        name: name.to_owned(),
        home: home.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uid: u32, expect: Option<(&str, &str)>) {
        let table = "root:x:0:0:root:/root:/bin/sh\n\n#odd\nnone:x:1:1::/:/bin/sh\n\
                     ann:x:1000:1000:Ann, of here:/home/ann:/bin/zsh\nrelative:x:1001:1001::home:/bin/sh";
        let expect = expect.map(|(name, home)| Account {
            name: name.to_owned(),
            home: home.into(),
        });
        assert_eq!(find(table, uid), expect);
    }

    #[test]
    fn an_account_is_found_by_its_number() {
        check(0, Some(("root", "/root")));
        check(1000, Some(("ann", "/home/ann")));
        check(1, None);
        check(1001, None);
        check(1002, None);
    }
}
