//! Approvals on the command line of the real binary: what is shown, who may answer, what outlives a kill, and agents that
//! are paused.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::{
    load::{HOST, Speaks},
    support::{Gate, text},
    upgrade::World,
};

const ASK: &str =
    "[[rule]]\nname = \"ask\"\nagents = [\"claude\"]\ntools = [\"notes.*\"]\neffect = \"prompt\"\n";

/// A gate whose operator says that a network leads everything here, and whose rules ask in some way.
fn world(seal: &str, approve: &str) -> World {
    let world = World::new();
    let path = world.place.path().join("exeat.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let sealed = config.replacen(
        "agent = \"claude\"\n",
        &format!("agent = \"claude\"\n{seal}"),
        1,
    );
    world.place.write("exeat.toml", &sealed);
    world
        .place
        .write("policy.toml", &format!("{ASK}approve = {approve}\n"));
    world
}

/// Sends one request that is not held; the status, and the document if there is one.
fn ask(world: &World, gate: &Gate, page: &str) -> (u16, Value) {
    let way = world.way(gate);
    world.runtime.block_on(async {
        let io = TokioIo::new(way.connect(Speaks::Http1).await.unwrap());
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        TaskTracker::new().spawn(async move { connection.await.unwrap_or_default() });
        let request = Request::get(page)
            .header(header::HOST, HOST)
            .header("exeat-wait", "0");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    })
}

#[test]
fn what_was_granted_outlives_a_kill_and_is_used_once() {
    let world = world(
        "seal = \"gateway\"\n",
        "{ by = \"local\", remember = \"uses:3\" }",
    );
    let gate = world.place.serve();
    let (status, document) = ask(&world, &gate, "/notes/1");
    assert_eq!(
        (status, &document["type"]),
        (403, &"urn:exeat:reason:approval-required".into())
    );
    let id = document["approval"]["id"].as_str().unwrap().to_owned();
    let listed = world.place.values(&["approval", "list"]);
    assert_eq!(
        (listed.len(), &listed[0]["approval"]["id"]),
        (1, &Value::from(id.clone()))
    );
    let told = world.place.prints(&["approval", "show", &id]);
    for wanted in [
        "GET https://notes.example",
        "/notes/1",
        "no body",
        "with the credential `notes`",
        "by local, at most uses:3",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
    let far = world
        .place
        .run(&["approval", "approve", &id, "--uses", "4"]);
    assert!(
        text(&far.stderr).contains("no further than `uses:3`"),
        "{}",
        text(&far.stderr)
    );
    let granted = world.place.values(&["approval", "approve", &id]);
    assert_eq!(granted[0]["approval"]["progress"]["state"], "granted");
    gate.signal("KILL");
    drop(gate);

    let gate = world.place.serve();
    assert_eq!(ask(&world, &gate, "/notes/2").0, 403, "another request");
    assert_eq!(ask(&world, &gate, "/notes/1").0, 200);
    assert_eq!(ask(&world, &gate, "/notes/1").0, 403, "used");
    let denied = world.place.run(&["approval", "deny", &id]);
    assert_eq!(denied.status.code(), Some(1), "nothing is left to deny");
    gate.stop();
}

#[test]
fn an_unsealed_agent_and_a_rule_that_wants_a_passkey_get_no_answer_here() {
    for (seal, approve, why) in [
        ("", "{ by = \"local\" }", "lets in who is not sealed"),
        (
            "seal = \"gateway\"\n",
            "{ by = \"passkey\" }",
            "with a passkey",
        ),
    ] {
        let world = world(seal, approve);
        let gate = world.place.serve();
        let (_, document) = ask(&world, &gate, "/notes/1");
        let id = document["approval"]["id"].as_str().unwrap();
        let told = world.place.told(&["approval", "approve", id]);
        assert!(
            told.contains(why) && told.ends_with("exit status: 1\n"),
            "{told}"
        );
        assert_eq!(ask(&world, &gate, "/notes/1").0, 403);
        gate.stop();
    }
}

#[test]
fn a_refusal_may_pause_the_agent_until_it_is_let_go_on() {
    let world = world("seal = \"gateway\"\n", "{ by = \"local\" }");
    let gate = world.place.serve();
    let (_, document) = ask(&world, &gate, "/notes/1");
    let id = document["approval"]["id"].as_str().unwrap();
    world.place.prints(&["approval", "deny", id, "--pause"]);
    assert_eq!(
        ask(&world, &gate, "/notes/1").1["type"],
        "urn:exeat:reason:agent-paused"
    );
    let agents = world.place.values(&["agent", "list"]);
    assert_eq!(
        (&agents[0]["agent"], &agents[0]["by"]),
        (&"claude".into(), &"local".into())
    );
    gate.stop();
    let gate = world.place.serve();
    assert_eq!(
        ask(&world, &gate, "/notes/1").1["type"],
        "urn:exeat:reason:agent-paused"
    );
    world.place.prints(&["agent", "resume", "claude"]);
    let (_, cooling) = ask(&world, &gate, "/notes/1");
    assert_eq!(cooling["type"], "urn:exeat:reason:approval-refused");
    let nobody = world.place.told(&["agent", "pause", "nobody"]);
    assert!(nobody.contains("there is no agent `nobody`"), "{nobody}");
    gate.stop();
}
