"""Images through the gate: a Docker engine whose network is led to Exeat pulls from a registry with token authentication,
and skopeo copies inside `exeat run`. The registry is Debian's; its token service is simulated. The engine never logs in:
the password is put in where the token is asked for, and neither it nor skopeo sees it.
"""

import json

import engine
import network
from world import CANARY, HERE, PYTHON, expect, read, run

REGISTRY = """
version: 0.1
storage: {{ filesystem: {{ rootdirectory: {folder}/registry }} }}
http:
  addr: 127.0.0.2:443
  tls: {{ certificate: {folder}/registry.test.pem, key: {folder}/registry.test.key }}
auth:
  token:
    realm: https://auth.test/token
    service: registry.test
    issuer: auth.test
    rootcertbundle: {folder}/signing.pem
"""
PASSWORD = f"puller:{CANARY}-registry"


def serve(world):
    """The registry and its token service, in the namespace of the gate."""
    at = lambda name: str(world.folder / name)
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=auth.test",
        "-keyout", at("signing.key"), "-out", at("signing.pem"))
    # Python looks its own name up when it serves; nobody answers, and nothing of that may count as an agent's.
    nobody = {"/etc/resolv.conf": str(world.write("resolv-nobody.conf", "nameserver 127.0.0.1\n"))}
    world.write("password", PASSWORD).chmod(0o600)
    words = [PYTHON, HERE / "token_server.py", "127.0.0.3", 443, "auth.test.pem", "auth.test.key", "signing.key", "signing.pem", "tokens.jsonl"]
    tokens = world.start("gate", "sh", "-c", 'exec "$@" <password', "sh", *words, log="tokens.log", files=nobody)
    world.until(tokens, "the token service", lambda: "ready" in read(tokens.log))
    world.write("registry.yml", REGISTRY.format(folder=world.folder))
    registry = world.start("gate", "docker-registry", "serve", "registry.yml", log="registry.log", files=nobody)
    world.until(registry, "the registry", lambda: "listening on" in read(registry.log))


def push(world):
    """As the operator would, with the password and past the gate."""
    engine.image(world, "registry.test/app:1", {**engine.busybox("cat"), "/hello": HERE / "world.py"})
    engine.image(world, "registry.test/other:1", engine.busybox("cat"))
    hosts = world.write("hosts", "127.0.0.1 localhost\n127.0.0.2 registry.test\n127.0.0.3 auth.test\n")
    (world.folder / "trusted").mkdir()
    world.write("trusted/ca.crt", read(world.folder / "root.pem"))
    for name in "app", "other":
        engine.docker(world, "save", f"registry.test/{name}:1", "-o", world.folder / "app.tar")
        run(*world.enter("gate", {"/etc/hosts": str(hosts)}), "skopeo", "copy", "--insecure-policy", "--dest-creds", PASSWORD,
            "--dest-cert-dir", world.folder / "trusted", f"docker-archive:{world.folder}/app.tar", f"docker://registry.test/{name}:1",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(world.folder), "SSL_CERT_FILE": str(world.folder / "root.pem")})
        engine.docker(world, "rmi", f"registry.test/{name}:1")


def check(world, say):
    world.namespace("engine")
    world.link("gate", "engine", 79)
    network.default_route(world, "engine", 79)
    network.lead(world, "redirected", "to-redirected", "to-engine")
    serve(world)
    resolver = world.write("resolv-engine.conf", "nameserver 8.8.8.8\n")
    engine.start(world, "engine", files={"/etc/resolv.conf": str(resolver)}, env={"SSL_CERT_FILE": str(world.folder / "exeat-root.pem")})
    push(world)
    (world.folder / "tokens.jsonl").unlink()

    pulled = engine.docker(world, "pull", "registry.test/app:1")
    expect("Downloaded newer image" in pulled.stdout, "docker pull", pulled.stdout)
    ran = engine.docker(world, "run", "--rm", "--network", "none", "registry.test/app:1", "cat", "/hello")
    expect(ran.stdout == read(HERE / "world.py"), "the image is not what was pushed", ran.stdout)
    asked = [json.loads(line) for line in read(world.folder / "tokens.jsonl").splitlines()]
    expect(asked and all(one["good"] for one in asked), "the password was not put in", asked)
    expect(CANARY not in read(world.folder / "dockerd.log"), "the engine knows the password")
    say("docker pull by an engine behind the gate, with a token that it never had the password for")

    refused = engine.docker(world, "pull", "registry.test/app2:1", check=False)
    expect(refused.returncode != 0 and len(read(world.folder / "tokens.jsonl").splitlines()) == len(asked),
           "a repository outside the tool's schema", refused.stdout)
    elsewhere = engine.docker(world, "pull", "docker.io/library/busybox:1", check=False)
    expect(elsewhere.returncode != 0, "an image from elsewhere", elsewhere.stdout)
    say("no other repository, no other registry")

    project = world.folder / "project"
    project.mkdir()
    copied = world.exeat(
        "gate", "run", "--agent", "redirected", "--", "skopeo", "copy", "--insecure-policy", "docker://registry.test/app:1",
        f"dir:{project}/image", cwd=project)
    expect((project / "image/manifest.json").exists(), "skopeo copy inside `exeat run`", copied.stdout + copied.stderr)
    expect(CANARY not in copied.stdout + copied.stderr, "skopeo saw the password")
    say("skopeo copy inside `exeat run`")
    expect(not network.got_out(world), "packets got out", network.got_out(world))
