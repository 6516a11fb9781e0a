//! The console over https under a name: a certificate of openssl, a cookie for https only, and a second device by QR code.

use std::process::Command;

use serde_json::json;

use crate::{
    passkeys::{Plan, TOKEN, World},
    site::Site,
};

const NAME: &str = "gate.pay.test";

/// Makes a certificate as people do.
fn certify(site: &Site) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "7"])
        .args(["-subj", "/CN=gate", "-addext"])
        .arg(format!("subjectAltName=DNS:{NAME}"))
        .arg("-keyout")
        .arg(site.file("gate.key"))
        .arg("-out")
        .arg(site.file("gate.pem"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

#[test]
fn over_https_a_second_device_is_paired_by_qr_code_once_the_first_has_vouched() {
    let site = Site::new(&["api.pay.test"]);
    certify(&site);
    let console =
        format!("origin = \"https://{NAME}\"\ntls = {{ cert = \"gate.pem\", key = \"gate.key\" }}");
    let plan = Plan {
        console: &console,
        ..Plan::default()
    };
    let world = World::with(site, &plan);
    assert_eq!(world.status["console"], format!("https://{NAME}"));
    let port = world.status["console-port"].to_string();
    let cert = world.site.file("gate.pem");
    let more = ["--port", &port, "--cert", cert.to_str().unwrap()];
    let steps = world.browse("https.mjs", &more);
    let expected = [
        (
            "cookie",
            json!({
                "name": "__Host-exeat", "secure": true, "httpOnly": true, "sameSite": "Strict", "path": "/",
                "domain": NAME,
            }),
        ),
        (
            "signed-in",
            json!({ "signedOut": "/sign-in", "at": "/", "isSecure": "https:" }),
        ),
        ("qr", json!({ "square": true, "drawn": true, "here": true })),
        (
            "paired",
            json!({ "early": "/sign-in", "used": 400, "at": "/" }),
        ),
    ];
    for (step, outcome) in &expected {
        assert_eq!(steps.get(*step), Some(outcome), "{step}");
    }
    let devices = world
        .site
        .own(&["--json", "console", "devices"].map(AsRef::as_ref), b"");
    assert_eq!(devices.lines().count(), 2, "{devices}");
    let (_, _, judge) = world.judged();
    let expected = json!({ "enrolled": 2, "vouched": 1, "granted": 0, "refused": 0 });
    assert_eq!(judge, expected);
    world.site.holds_none_of(&[TOKEN]);
}
