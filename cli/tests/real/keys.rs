//! A key that another machine holds, reached over mutual TLS by the whole gate. The machine is simulated by `tests/real`.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::site::{Server, Site, python, seen};

const HOST: &str = "keys.example.com";

fn site() -> (Site, Server) {
    let site = Site::new(&[HOST]);
    let (record, root) = (site.outside("seen"), site.file("root.pem"));
    let more = [
        OsStr::new("--client-ca"),
        root.as_os_str(),
        OsStr::new("--record"),
        record.as_os_str(),
    ];
    let script = "key_services_simulated.py";
    let server = site.start(python().to_str().unwrap(), script, &more);
    let certificate = fs::read_to_string(site.outside("cert.pem")).unwrap();
    site.write("client.pem", &certificate);
    site.write(
        "exeat.toml",
        &format!(
            "[agents.cat]\n\
             [signers.other]\nkind = \"remote\"\nurl = \"https://{HOST}\"\nlabel = \"es256\"\n\
             certificate = \"client.pem\"\nsecret = \"sealed:client-key\"\n\
             [network]\nallow-private = [\"{HOST}:443\"]\nupstream-roots = [\"root.pem\"]\n\
             connect-to = {{ \"{HOST}:443\" = \"127.0.0.1:{}\" }}\n",
            server.port
        ),
    );
    let key = fs::read_to_string(site.outside("key.pem")).unwrap();
    site.seal("client-key", &key);
    (site, server)
}

#[test]
fn a_key_on_another_machine_is_opened_over_mutual_tls() {
    let (site, _server) = site();
    let mut agent = site.observed();
    agent.args(["sh", "-c", "echo ready; cat"]);
    agent.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agent = agent.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(agent.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    let listed = site.own(&["--json", "signer", "list"].map(OsStr::new), b"");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed["kind"], &listed["algorithm"]),
        (&json!("remote"), &json!("ES256")),
        "{listed}"
    );
    drop(agent.stdin.take());
    agent.wait().unwrap();
    let seen = seen(&site.outside("seen"));
    let asked = json!({ "method": "GET", "target": "/keys/es256", "status": 200 });
    assert!(seen.contains(&asked), "{seen:?}");
}
