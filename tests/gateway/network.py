"""A network that is led to Exeat: REDIRECT and TPROXY, IPv4 and IPv6.

    agent "redirected" ---+
                          +--- gate (routes for both) --- outside (a simulated Internet, with nothing behind it)
    agent "proxied"    ---+

The gate's namespace does route, so that without the rules everything would get through: the control run shows that, and
that the probes can tell. Afterwards not one packet may reach the outside, as the real upstreams are in the gate's
namespace.
"""

import json

from world import CANARY, HERE, PYTHON, World, expect, read, run

OUTSIDE_V4, OUTSIDE_V6 = "203.0.113.9", "2001:db8::5"
OUTSIDE = [OUTSIDE_V4, OUTSIDE_V6, "8.8.8.8", "169.254.169.254", "2001:4860:4860::8888"]
PATIENT = 2  # seconds: what is shut is shut at once

EXEAT = """
[[listener]]
mode = "transparent"
address = "0.0.0.0:8081"
agent = "redirected"
seal = "gateway"
clients = ["10.77.0.0/24", "10.79.0.0/24"]
[[listener]]
mode = "transparent"
address = "[::]:8081"
agent = "redirected"
seal = "gateway"
clients = ["fd77::/64"]
[[listener]]
mode = "transparent"
address = "0.0.0.0:8082"
agent = "proxied"
seal = "gateway"
capture = "tproxy"
[[listener]]
mode = "transparent"
address = "[::]:8082"
agent = "proxied"
seal = "gateway"
capture = "tproxy"
[[listener]]
mode = "dns"
address = "0.0.0.0:5353"
[[listener]]
mode = "dns"
address = "[::]:5353"
answers = ["fd76::1"]
[metrics]
address = "127.0.0.1:8090"
[agents.redirected]
groups = ["network"]
[agents.proxied]
groups = ["network"]
[credentials.api]
kind = "bearer"
secret = "sealed:api"
hosts = ["api.test"]
[credentials.registry]
kind = "basic"
username = "puller"
secret = "sealed:registry"
hosts = ["auth.test"]
[network]
allow-private = ["api.test:443", "registry.test:443", "auth.test:443"]
connect-to = { "api.test:443" = "127.0.0.1:8443", "registry.test:443" = "127.0.0.2:443", "auth.test:443" = "127.0.0.3:443" }
upstream-roots = ["../root.pem"]
"""

API = """
[api]
name = "api"
origin = "https://api.test"
credential = "api"
[[tool]]
name = "items"
request = "GET /items"
category = "read"
[[tool]]
name = "remove"
request = "DELETE /items"
category = "delete"
"""

REGISTRY = """
[api]
name = "registry"
origin = "https://registry.test"
[[tool]]
name = "ping"
request = "GET /v2/"
category = "read"
[[tool]]
name = "manifest"
request = "GET /v2/{repository}/manifests/{reference}"
category = "read"
[[tool]]
name = "manifest.head"
request = "HEAD /v2/{repository}/manifests/{reference}"
category = "read"
[[tool]]
name = "blob"
request = "GET /v2/{repository}/blobs/{digest}"
category = "read"
"""

TOKENS = """
[api]
name = "registry.tokens"
origin = "https://auth.test"
credential = "registry"
[[tool]]
name = "pull"
request = "GET /token"
category = "read"
[tool.input.properties]
service = { const = "registry.test" }
scope = { type = "string", pattern = "^repository:[a-z]+:pull$" }
account = { type = "string" }
"""

POLICY = """
[[rule]]
name = "read"
agents = ["group:network"]
tools = ["api.*", "registry.*"]
category = ["read"]
effect = "allow"
"""

AGENTS = {"redirected": (77, "REDIRECT"), "proxied": (78, "TPROXY")}


def build(world):
    for space in ["gate", "outside", *AGENTS]:
        world.namespace(space)
    for space, (network, _) in AGENTS.items():
        world.link("gate", space, network)
        default_route(world, space, network)
    world.link("gate", "outside", 76)
    world.inside("gate", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
    for ip, network in ("-4", "10.76.0"), ("-6", "fd76:"):
        world.inside("gate", "ip", ip, "route", "add", "default", "via", f"{network}{'.' if ip == '-4' else ':'}2")
        world.inside("outside", "ip", ip, "route", "add", "default", "via", f"{network}{'.' if ip == '-4' else ':'}1")
    for address in OUTSIDE:
        world.inside("outside", "ip", "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    # A client whose address the listener does not know.
    world.inside("redirected", "ip", "addr", "add", "10.77.5.5/32", "dev", "to-gate")
    world.inside("gate", "ip", "route", "add", "10.77.5.5/32", "dev", "to-redirected")
    outside = world.start("outside", PYTHON, HERE / "outside.py", *OUTSIDE, log="outside.log")
    world.until(outside, "the simulated Internet", lambda: "ready" in read(outside.log))
    # Something of the gate's own machine that is no business of an agent's.
    private = world.start("gate", PYTHON, HERE / "outside.py", "10.77.0.1", "10.78.0.1", "fd77::1", "fd78::1", log="private.log")
    world.until(private, "the gate's own server", lambda: "ready" in read(private.log))


def default_route(world, space, network):
    world.inside(space, "ip", "-4", "route", "add", "default", "via", f"10.{network}.0.1")
    world.inside(space, "ip", "-6", "route", "add", "default", "via", f"fd{network}::1")


def configure(world):
    world.certificates("api.test", "registry.test", "auth.test")
    world.write("config/exeat.toml", EXEAT)
    for name, text in ("api", API), ("registry", REGISTRY), ("tokens", TOKENS):
        world.write(f"config/tools/{name}.toml", text)
    world.write("config/policy.toml", POLICY)
    for name, secret in ("api", CANARY), ("registry", f"{CANARY}-registry"):
        world.exeat("gate", "secret", "set", name, input=secret)
    upstream = world.start(
        "gate", PYTHON, HERE / "upstream.py", "127.0.0.1", 8443, "api.test.pem", "api.test.key", "seen.jsonl", log="upstream.log")
    world.until(upstream, "the upstream", lambda: "ready" in read(upstream.log))
    world.write("exeat-root.pem", world.exeat("gate", "ca", "init").stdout)


def lead(world, agent, *interfaces):
    words = [word for name in interfaces for word in ("--interface", name)]
    rules = world.exeat("gate", "gateway", "rules", "--agent", agent, *words).stdout
    world.inside("gate", "nft", "-f", "-", input=rules)
    for line in rules.splitlines():
        if line.startswith("# Once: "):
            world.inside("gate", *line.removeprefix("# Once: ").split())


def probes(network, other):
    """Every way out that should be shut, on IPv4 and IPv6."""
    tries = []
    for v, to, resolver, gate, neighbour in (
        ("4", OUTSIDE_V4, "8.8.8.8", f"10.{network}.0.1", f"10.{other}.0.2"),
        ("6", OUTSIDE_V6, "2001:4860:4860::8888", f"fd{network}::1", f"fd{other}::2"),
    ):
        def add(what, kind, to, port=0, v=v, **more):
            tries.append({"id": f"{what}, IPv{v}", "kind": kind, "to": to, "port": port, **more})

        for port in 22, 25, 853, 8080, 9418:
            add(f"tcp {port}", "tcp", to, port)
        for port in 123, 443, 4433, 51820:
            add(f"udp {port}", "udp", to, port)
        add("icmp", "icmp", to)
        add("icmp to the gate", "icmp", gate)
        add("http to an address", "http", to, 80)
        add("http to a name nobody declared", "http", to, 80, host="evil.example")
        add("CONNECT in redirected traffic", "http", to, 80, request="CONNECT evil.example:22 HTTP/1.1\r\nHost: evil.example:22\r\n\r\n")
        add("absolute form in redirected traffic", "http", to, 80, request="GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        add("tls without a name", "https", to, 443)
        add("tls for a name nobody declared", "https", to, 443, name="evil.example")
        add("one name in TLS, another in Host", "https", to, 443, name="api.test", host="evil.example")
        add("dns over https", "https", resolver, 443, name="dns.google")
        add("dns over tls", "tcp", resolver, 853)
        for over in "udp", "tcp":
            add(f"foreign dns, {over}, a name to tell", "dns", resolver, 53, name="c2VjcmV0.evil.example", over=over)
            add(f"foreign dns, {over}, a good name", "dns", resolver, 53, name="api.test", over=over)
            add(f"foreign dns, {over}, HTTPS record", "dns", resolver, 53, name="api.test", type=65, over=over)
        for port, own in (8081, "listener"), (8082, "other listener"), (8090, "metrics"), (5353, "resolver"), (22, "ssh"):
            add(f"the gate's {own} itself", "tcp", gate, port)
        add("the gate's web port", "http", gate, 80)
        add("the resolver itself, udp", "udp", gate, 5353)
        add("another agent", "tcp", neighbour, 9)
    for host in "169.254.169.254", "metadata.google.internal", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe":
        tries.append({"id": f"metadata as {host}", "kind": "http", "to": "169.254.169.254", "port": 80, "host": host})
    return tries


def attempt(world, space, tries):
    done = world.inside(space, PYTHON, HERE / "probe.py", input=json.dumps(tries))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expect(len(found) == len(tries), "a probe ended early", done.stderr)
    return found


def control(world):
    """Before the rules are loaded everything gets through, so a probe that says `closed` later says something."""
    tries = [one for one in probes(77, 78) if one["kind"] in ("tcp", "udp", "icmp")
             and "853" not in one["id"] and "gate's" not in one["id"] and "agent" not in one["id"] and "itself" not in one["id"]]
    found = attempt(world, "redirected", tries)
    shut = [one for one in found if one["state"] != "open"]
    expect(not shut, "without the rules the network should let everything through", shut)
    return len(tries)


def count_outside(world):
    """From here on every packet that gets out is remembered; only neighbours may look for each other."""
    world.inside("outside", "nft", "-f", "-", input="""
table inet outside {
    set seen4 { typeof ip saddr . ip daddr . ip protocol; flags dynamic; size 65535; }
    set seen6 { typeof ip6 saddr . ip6 daddr . ip6 nexthdr; flags dynamic; size 65535; }
    chain in {
        type filter hook prerouting priority -300; policy accept;
        iifname "lo" accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept
        meta nfproto ipv4 add @seen4 { ip saddr . ip daddr . ip protocol }
        meta nfproto ipv6 add @seen6 { ip6 saddr . ip6 daddr . ip6 nexthdr }
    }
}""")


def got_out(world):
    """From where, to where, and which protocol."""
    listed = json.loads(world.inside("outside", "nft", "-j", "list", "sets").stdout)
    sets = [one["set"] for one in listed["nftables"] if "set" in one]
    return [element["concat"] for one in sets for element in one.get("elem", [])]


def curl(world, space, *words, check=True, server="8.8.8.8"):
    resolver = world.write(f"resolv-{space}.conf", f"nameserver {server}\noptions timeout:5 attempts:1\n")
    argv = [*world.enter(space, {"/etc/resolv.conf": str(resolver)}), "curl", "-sS", "--max-time", "20",
            "--cacert", str(world.folder / "exeat-root.pem"), "-w", "\n%{http_code}", *words]
    return run(*argv, check=check)


def faithful(world, space):
    """What is allowed works as if nothing stood between, and with a credential that the agent does not have."""
    url = "https://api.test/items"
    ways = {
        "by name": [],
        "by name, over IPv6 alone": ["-6"],
        "by IPv4 address": ["--resolve", f"api.test:443:{OUTSIDE_V4}"],
        "by IPv6 address": ["-6", "--resolve", f"api.test:443:[{OUTSIDE_V6}]"],
    }
    before = len(read(world.folder / "seen.jsonl").splitlines())
    for way, words in ways.items():
        server = "2001:4860:4860::8888" if "IPv6 alone" in way else "8.8.8.8"
        done = curl(world, space, *words, url, server=server)
        expect(done.stdout.endswith("\n200") and '"items": [1, 2, 3]' in done.stdout, f"an allowed call, {way}", done.stdout)
        expect(CANARY not in done.stdout + done.stderr, f"the credential came back, {way}", done.stdout)
    seen = [json.loads(line) for line in read(world.folder / "seen.jsonl").splitlines()][before:]
    expect([one["authorization"] for one in seen] == [f"Bearer {CANARY}"] * len(ways), "the credential was not put in", seen)
    refused = curl(world, space, "-X", "DELETE", url)
    expect(refused.stdout.endswith("\n403") and "policy-forbids" in refused.stdout, "a call that no rule allows", refused.stdout)
    unknown = curl(world, space, "https://api.test/nothing")
    expect("tool-unknown" in unknown.stdout, "a call that no tool declares", unknown.stdout)
    expect(len(read(world.folder / "seen.jsonl").splitlines()) == before + len(ways), "a refused call arrived")


def logged(world, agent, listener):
    """The address that was dialled is known from connection tracking or from the socket; it is for the log alone."""
    log = read(world.folder / "gate.log")
    for to in f"{OUTSIDE_V4}:443", f"[{OUTSIDE_V6}]:443":
        lines = [line for line in log.splitlines() if "a redirected connection" in line and listener in line and to in line]
        expect(lines, f"the gate does not know that {agent} went to {to}")


def unknown_client(world):
    """Reaching the port is not enough: this address is not among the listener's clients."""
    done = curl(world, "redirected", "--interface", "10.77.5.5", "--resolve", f"api.test:443:{OUTSIDE_V4}",
                "https://api.test/items", check=False)
    expect(done.returncode != 0 and done.stdout.endswith("000"), "a client from elsewhere was served", done.stdout)


def check(world, say):
    build(world)
    configure(world)
    say(f"without rules all {control(world)} control probes get through")
    count_outside(world)
    expect(not got_out(world), "something is remembered too early")
    gate = world.gate("gate")
    for agent in AGENTS:
        lead(world, agent, f"to-{agent}")
    for agent, (network, capture) in AGENTS.items():
        faithful(world, agent)
        say(f"{capture}: allowed, refused and undeclared calls, over IPv4 and IPv6, by name and by address")
        found = attempt(world, agent, probes(network, 155 - network))
        ajar = [one for one in found if one["state"] != "closed" or one["seconds"] > PATIENT]
        expect(not ajar, f"{capture}: ways out that are open, or not shut at once", "\n".join(map(str, ajar)))
        say(f"{capture}: {len(found)} ways out are shut at once, the slowest in {max(one['seconds'] for one in found)} s")
        logged(world, agent, "8081" if agent == "redirected" else "8082")
    unknown_client(world)
    world.exeat("gate", "upgrade")
    for agent in AGENTS:
        faithful(world, agent)
    say("after `exeat upgrade` the same sockets are served, those of TPROXY and of names too")
    expect(not got_out(world), "packets got out", got_out(world))
    receipts = [one.get("intent") or one["refusal"] for one in world.receipts("gate")]
    for agent in AGENTS:
        own = [one for one in receipts if one["agent"] == agent]
        expect(len(own) >= 10 and all(one["seal"] == "gateway" for one in own), f"receipts of {agent}", own)
    say("nothing got out, and every call has a receipt that says `gateway`")
    return gate
