"""Python's HTTP clients, event streams and WebSockets."""

import os

import servers
from cases import case
from cases.curl import front
from world import HERE, expect

DEFLATE = ["permessage-deflate"]
PROGRAM = HERE / "programs/http_clients.py"


def asks(package):
    return ("{python}", "-c", f"import importlib.metadata as m; print('version', m.version('{package}'))")


def check(site, step, version="1"):
    server, secret = front(site, "--version", version)
    body = os.urandom(200_000)
    (site.work / "body").write_bytes(body)
    got = site.sealed(site.world.python, PROGRAM, step).well().lines()[0]
    expect((got["status"], got["same"]), (200, True), f"answer {got}")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__echo=1)
    return got


@case("Python requests", "POST of random bytes", asks("requests"))
def requests(site):
    check(site, "requests")


@case("Python urllib", "POST of random bytes; standard library", ("{python}", "--version"))
def urllib(site):
    check(site, "urllib")


@case("Python httpx", "POST of random bytes; HTTP/1.1", asks("httpx"))
def httpx(site):
    expect(check(site, "httpx")["version"], "HTTP/1.1", "version")


@case("Python httpx", "POST of random bytes; HTTP/2 to a server of HTTP/2 only", asks("httpx"))
def httpx_second(site):
    expect(check(site, "httpx2", "2")["version"], "HTTP/2", "version")


@case("Python aiohttp", "POST of random bytes, through the proxy variables", asks("aiohttp"))
def aiohttp(site):
    check(site, "aiohttp")


@case("Python aiohttp", "POST of random bytes, knowing no proxy", asks("aiohttp"))
def aiohttp_direct(site):
    check(site, "aiohttp-direct")


@case("Python httpx", "server-sent events: the first arrives while the stream is open", asks("httpx"))
def events(site):
    server, secret = front(site)
    got = site.sealed(site.world.python, PROGRAM, "events").well().lines()[0]
    # The server sends the second only after the client, having the first, asked for it.
    expect(got["events"], ["first", "second", "third"], "events")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__events=1, front__go=1)


@case(
    "Python websockets",
    "permessage-deflate; text and binary both ways, a large message, ping, close code",
    asks("websockets"),
)
def websockets(site):
    secret = site.credential("front", "front.example.com", env="FRONT_TOKEN")
    server = servers.python(site, "websocket_server.py")
    site.api("front", server.port, {"talk": "GET /talk"}, "front")
    site.ready()
    got = site.sealed(site.world.python, HERE / "programs/websocket_client.py").well().lines()[0]
    expect((got["text"], got["same"], got["pong"]), ("echo: hello", True, True), f"messages {got}")
    expect(got["closed"], [4321, "as asked"], "close code and reason")
    # Both sides offer compression by default, and both must be told the same of it.
    expect((server.seen()[0]["extensions"], got["extensions"]), (DEFLATE, DEFLATE), "extensions on both sides")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__talk=1)
