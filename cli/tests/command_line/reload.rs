//! What a gate that runs takes up without a restart, and without one failed request: rules and tools by the hundred, a
//! rotated root, a signal.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    load::{Load, Speaks, whole_bytes},
    support::text,
    upgrade::{POLICY, World},
};

/// Tools and rules that are swapped under load.
const MANY: usize = 300;
/// How often a test asks again for something that a gate does in its own time.
const TRIES: usize = 400;

/// So many tools of an API that nobody asks, and a rule for each.
fn bulk(count: usize, effect: &str) -> (String, String) {
    let mut tools = "[api]\nname = \"bulk\"\norigin = \"https://bulk.example\"\n".to_owned();
    let mut rules = POLICY.to_owned();
    for n in 0..count {
        write!(
            tools,
            "[[tool]]\nname = \"t{n}\"\nrequest = \"GET /t{n}/{{id}}\"\ncategory = \"read\"\ndescription = \"{n}\"\n"
        )
        .unwrap();
        write!(
            rules,
            "[[rule]]\nname = \"r{n}\"\nagents = [\"claude\"]\ntools = [\"bulk.t{n}\"]\neffect = \"{effect}\"\n"
        )
        .unwrap();
    }
    (tools, rules)
}

#[test]
fn rules_and_tools_are_swapped_under_load_without_one_failed_request() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let load = Arc::new(Load::default());
    let (asking, stream) = world.runtime.block_on(async {
        let speak = [Speaks::Http1, Speaks::Http2];
        let asking = speak.map(|speaks| way.keep_asking(speaks, &load));
        let stream = way.download(Speaks::Http1, "/events").await;
        load.wait_for_more(20).await;
        (asking, stream)
    });
    let shown = || {
        world
            .place
            .values(&["policy", "show", "--running"])
            .remove(0)
    };
    for effect in ["allow", "deny"] {
        let (tools, rules) = bulk(MANY, effect);
        let digest = shown()["digest"].clone();
        world.place.write("tools/bulk.toml", &tools);
        world.place.write("policy.toml", &rules);
        gate.signal("HUP");
        let swapped = (0..TRIES * 10).any(|_| {
            let now = shown();
            now["digest"] != digest && now["tools"] == 3 + MANY
        });
        assert!(swapped, "the new rules are not in force");
        world.runtime.block_on(load.wait_for_more(20));
    }
    world.upstream.let_go();
    world.runtime.block_on(async {
        assert_eq!(stream.finish().await.unwrap(), whole_bytes());
        load.stop.store(true, Ordering::Release);
        for asking in asking {
            asking.await.unwrap();
        }
    });
    assert_eq!(*load.failures.lock().unwrap(), Vec::<String>::new());
    gate.stop();
}

#[test]
fn a_rotated_root_signs_at_once_and_connections_that_stand_go_on() {
    let world = World::new();
    let gate = world.place.serve();
    let way = world.way(&gate);
    let stream = world
        .runtime
        .block_on(way.download(Speaks::Http1, "/download"));
    let rotated = world.place.run(&["ca", "rotate"]);
    assert!(rotated.status.success(), "{}", text(&rotated.stderr));
    let fresh = CertificateDer::from_pem_slice(&rotated.stdout).unwrap();
    let signed_by = |way: &crate::load::Way| {
        let stream = world.runtime.block_on(way.connect(Speaks::Http1))?;
        let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
        std::io::Result::Ok(chain)
    };
    // Who trusts the old root alone is refused by its own client; the new bundle has both.
    assert!(signed_by(&way).is_err());
    assert_eq!(signed_by(&world.way(&gate)).unwrap().last(), Some(&fresh));
    world.upstream.let_go();
    let whole = world.runtime.block_on(stream.finish()).unwrap();
    assert_eq!(whole, whole_bytes());
    gate.stop();
}
