//! A person with a browser: follows the server's redirects and fills in its forms, and comes back to the gate.

use std::process::{Command, Stdio};

use super::world::World;

/// A browser with its cookies.
pub(crate) struct Browser<'a> {
    world: &'a World,
    jar: std::path::PathBuf,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let jar = world.site.outside("cookies");
        Self { world, jar }
    }

    /// Opens a page and agrees to everything, until no form is left. Returns what the last page says.
    pub(crate) fn agrees(&self, url: &str) -> String {
        let (mut url, mut page) = self.load(url, None);
        for _ in 0..10 {
            let Some((action, mut fields)) = form(&page) else {
                return page;
            };
            for (name, value) in &mut fields {
                match name.as_str() {
                    "login" => *value = "alice".to_owned(),
                    "password" => *value = "x".to_owned(),
                    _ => {}
                }
            }
            fields.retain(|(name, _)| name != "abort");
            let action = absolute(&url, &action);
            (url, page) = self.load(&action, Some(&fields));
        }
        panic!("the forms do not end: {page}");
    }

    /// Loads one page, through redirects; where it ended, and what it says.
    pub(crate) fn load(&self, url: &str, form: Option<&[(String, String)]>) -> (String, String) {
        let to = format!("as.test:443:127.0.0.1:{}", self.world.port());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-L", "--max-time", "30", "--connect-to", &to]);
        curl.arg("--cacert").arg(self.world.site.file("root.pem"));
        curl.arg("--cookie")
            .arg(&self.jar)
            .arg("--cookie-jar")
            .arg(&self.jar);
        curl.args(["-w", "\n%{url_effective}"]);
        for (name, value) in form.unwrap_or_default() {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = curl.arg(url).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let failed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{url}: {failed}");
        let (page, url) = text.rsplit_once('\n').unwrap();
        (url.to_owned(), page.to_owned())
    }
}

/// The first form of a page: where it goes, and its fields.
fn form(page: &str) -> Option<(String, Vec<(String, String)>)> {
    let (_, text) = page.split_once("<form")?;
    let action = attribute(text.split_once('>')?.0, "action")?;
    let inside = text.split("</form>").next()?;
    let fields = inside.split("<input").skip(1).filter_map(|input| {
        let (input, _) = input.split_once('>')?;
        Some((
            attribute(input, "name")?,
            attribute(input, "value").unwrap_or_default(),
        ))
    });
    Some((action.replace("&amp;", "&"), fields.collect()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

fn absolute(base: &str, action: &str) -> String {
    if action.contains("://") {
        return action.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap();
    let host = rest.split(['/', '?']).next().unwrap();
    format!("{scheme}://{host}{action}")
}
