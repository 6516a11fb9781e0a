//! The tour's configuration: one API, four tools, three rules, one secret.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{Place, Ran, Upstream};

/// Everything the steps need.
pub(super) struct Site {
    folder: Place,
    exe: Place,
}

const TOOLS: &str = r#"
[api]
name = "demo"
origin = "https://api.demo.test"
credential = "demo"

[[tool]]
name = "notes.show"
request = "GET /notes/{id}"
category = "read"
description = "Show a note"

[[tool]]
name = "notes.create"
request = "POST /notes"
category = "write"
description = "Write a note"
[tool.input.body]
type = "object"
required = ["title"]
additionalProperties = false
properties = { title = { type = "string", maxLength = 80 }, text = { type = "string" } }

[[tool]]
name = "notes.publish"
request = "POST /notes/{id}/publish"
category = "write"
description = "Publish a note"
[tool.input.body]
type = "object"
required = ["to"]
additionalProperties = false
properties = { to = { type = "string", enum = ["team", "everybody"] } }

[[tool]]
name = "notes.delete"
request = "DELETE /notes/{id}"
category = "delete"
description = "Delete a note"
"#;

const POLICY: &str = r#"
[[rule]]
name = "read and write notes"
agents = ["demo"]
tools = ["demo.notes.show", "demo.notes.create"]
effect = "allow"

[[rule]]
name = "a human publishes"
agents = ["demo"]
tools = ["demo.notes.publish"]
effect = "prompt"
approve = { by = "passkey" }

[[rule]]
name = "never delete"
agents = ["*"]
category = ["delete"]
effect = "deny"
"#;

impl Site {
    /// Writes the configuration and seals the token.
    pub(super) fn make(folder: &Path, exe: Place, upstream: &Upstream) -> anyhow::Result<Self> {
        let site = Self {
            folder: folder.to_owned(),
            exe,
        };
        fs::create_dir(site.file("tools"))?;
        fs::write(site.file("tools/demo.toml"), TOOLS)?;
        fs::write(site.file("policy.toml"), POLICY)?;
        fs::write(site.file("upstream-root.pem"), &upstream.root_pem)?;
        let main = format!(
            "[agents.demo]\n\
             [console]\naddress = \"127.0.0.1:{}\"\n\
             [credentials.demo]\nkind = \"bearer\"\nsecret = \"sealed:demo\"\nhosts = [\"api.demo.test\"]\n\
             env = [\"DEMO_TOKEN\"]\n\
             [network]\nallow-private = [\"api.demo.test:443\"]\n\
             connect-to = {{ \"api.demo.test:443\" = \"{}\" }}\nupstream-roots = [\"upstream-root.pem\"]\n",
            free_port()?,
            upstream.address
        );
        fs::write(site.file("exeat.toml"), main)?;
        let mut child = site
            .exeat(&["secret", "set", "demo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        child
            .stdin
            .take()
            .context("the command's input")?
            .write_all(upstream.token.as_bytes())?;
        if !child.wait()?.success() {
            bail!("the tour's token could not be sealed");
        }
        Ok(site)
    }

    /// A file of the tour.
    pub(super) fn file(&self, name: &str) -> Place {
        self.folder.join(name)
    }

    /// Runs a command sealed behind the gate, as the agent `demo`.
    pub(super) fn sealed(&self, argv: &[&str]) -> anyhow::Result<Ran> {
        self.ran(self.exeat(&["run", "--"]).args(argv))
    }

    /// Runs one of our own commands.
    pub(super) fn own(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        self.ran(&mut self.exeat(arguments))
    }

    fn exeat(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.exe);
        command
            .arg("--config")
            .arg(self.file("exeat.toml"))
            .arg("--data")
            .arg(self.file("data"))
            .args(arguments);
        command.stdin(Stdio::null()).current_dir(&self.folder);
        command
    }

    fn ran(&self, command: &mut Command) -> anyhow::Result<Ran> {
        let output = command.output().context("running a command of the tour")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ran {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            success: output.status.success(),
        })
    }
}

/// A port of loopback for the console. Passkeys belong to its URL, so it is chosen before the gate starts.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("finding a port")?;
    Ok(listener.local_addr()?.port())
}
