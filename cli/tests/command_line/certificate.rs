//! A client certificate whose key lies in a token: a server of others verifies it, and the gate never has the key.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use crate::{
    keys::Token,
    support::{Place, text},
};

const TOOLS: &str = r#"
[api]
name = "bank"
origin = "https://bank.example"
credential = "bank"
[[tool]]
name = "show"
request = "GET /{page}"
category = "read"
"#;
const POLICY: &str =
    "[[rule]]\nname = \"read\"\nagents = [\"claude\"]\ntools = [\"bank.*\"]\neffect = \"allow\"\n";

#[test]
fn openssl_lets_in_a_key_that_never_left_its_token() {
    let token = Token::new();
    let place = &token.place;
    let signers = format!(
        "[signers.card]\nkind = \"pkcs11\"\n{}",
        Token::lines("bank")
    );
    place.write("exeat.toml", &signers);
    let public = token.prints(&["signer", "create", "card", "--algorithm", "es256"]);
    place.write("public.pem", &public);
    certificates(place);
    let server = Server::start(place);
    place.write("tools/bank.toml", TOOLS);
    place.write("policy.toml", POLICY);
    let address = server.address;
    place.write(
        "exeat.toml",
        &format!(
            "[[listener]]\nmode = \"explicit\"\naddress = \"127.0.0.1:0\"\nagent = \"claude\"\n[agents.claude]\n\
             [network]\nallow-private = [\"bank.example:443\"]\nconnect-to = {{ \"bank.example:443\" = \"{address}\" }}\n\
             upstream-roots = [\"ca.pem\"]\n{signers}\
             [credentials.bank]\nkind = \"mtls\"\ncertificate = \"client.pem\"\nsigner = \"card\"\nhosts = [\"bank.example\"]\n"
        ),
    );
    let gate = token.serve();
    let proxy = gate.status["listeners"][0].as_str().unwrap();
    place.write("gate.pem", &token.prints(&["ca", "export"]));
    let seen = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert", "gate.pem"])
        .args(["--proxy", &format!("http://{proxy}")])
        .arg("https://bank.example/page")
        .current_dir(place.path())
        .output()
        .unwrap();
    let seen = text(&seen.stdout).replace(" = ", "=");
    assert!(seen.contains("Client certificate"), "{seen}");
    assert!(seen.contains("Subject: CN=gate"), "{seen}");
    gate.stop();
}

/// An authority, a certificate of it for the server, and one for the key in the token.
fn certificates(place: &Place) {
    place.write("names.cnf", "subjectAltName=DNS:bank.example\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        &format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"),
        &format!("req {key} -keyout server.key -out server.csr -subj /CN=bank.example"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -extfile names.cnf -out server.pem -days 2",
        "x509 -new -force_pubkey public.pem -subj /CN=gate -CA ca.pem -CAkey ca.key -out client.pem -days 2",
    ] {
        let made = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(place.path())
            .output()
            .expect("openssl; `make setup` installs it");
        assert!(made.status.success(), "{line}: {}", text(&made.stderr));
    }
}

/// `openssl s_server`, which lets in whoever shows a certificate of the authority, and says whose.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(place: &Place) -> Self {
        let line = "s_server -accept 127.0.0.1:0 -www -verify_return_error -Verify 1 -CAfile ca.pem -cert server.pem -key server.key";
        let mut child = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.parse().ok());
        let address = address.unwrap();
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}
