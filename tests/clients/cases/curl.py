"""curl, wget and nghttp: what most scripts use, and every plain part of HTTP."""

import hashlib
import json
import os

import servers
from cases import case
from world import expect, holds, program

FILES = {
    "page": "GET /page.html",
    "head": "HEAD /page.html",
    "part": ("GET /part.bin", "ranges = true"),
    "nothing": "GET /nothing",
}
STATIC = """
root {files};
location = /nothing {{ return 204; }}
location / {{ etag on; }}
"""
WEB = {"page.html": b"<p>hello</p>\n" * 500, "part.bin": bytes(range(256)) * 40}


def web(site, http2=True, credential="web", files=WEB, tools=None):
    """A site with nginx serving files at https://web.example.com."""
    secret = site.credential(credential, "web.example.com", env="WEB_TOKEN")
    folder = site.outside / "files"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    front = servers.nginx(site, f"Bearer {secret}", STATIC.format(files=folder), http2)
    site.api("web", front.port, tools or FILES, credential)
    site.ready()
    return front, secret


def curl(site, *arguments, **more):
    quiet = ["curl", "-q", "--silent", "--show-error", "--max-time", "60"]
    return site.sealed(*quiet, *arguments, **more)


def check_curl(site, version, protocol):
    front, secret = web(site, http2=protocol == "HTTP/2.0")
    url = "https://web.example.com"
    body = curl(site, version, f"{url}/page.html").well()
    expect(body.out, WEB["page.html"], "body of GET")
    head = curl(site, version, "--head", f"{url}/page.html").well().text.lower()
    holds(f"content-length: {len(WEB['page.html'])}" in head, f"no length in {head}")
    etag = next(line.split(":", 1)[1].strip() for line in head.splitlines() if line.startswith("etag:"))
    code = ["--write-out", "%{http_code} %{http_version} %{size_download}", "--output", "got"]
    same = curl(site, version, *code, "--header", f"If-None-Match: {etag}", f"{url}/page.html").well().text
    expect(same.split()[0], "304", "status of a conditional GET")
    empty = curl(site, version, *code, f"{url}/nothing").well().text
    expect(empty.split(), ["204", "2" if version == "--http2" else "1.1", "0"], "status of a 204")
    part = curl(site, version, "--range", "100-299", f"{url}/part.bin").well()
    expect(part.out, WEB["part.bin"][100:300], "a range")
    expect({one["protocol"] for one in front.seen()}, {protocol}, "protocol that upstream saw")
    front.saw_only(f"Bearer {secret}")
    site.allowed(web__page=2, web__head=1, web__nothing=1, web__part=1)


@case("curl", "GET, HEAD, 204, 304, ranges; HTTP/1.1", "curl --version")
def plain(site):
    check_curl(site, "--http1.1", "HTTP/1.1")


@case("curl", "GET, HEAD, 204, 304, ranges; HTTP/2", "curl --version")
def second(site):
    check_curl(site, "--http2", "HTTP/2.0")


def only_second(site):
    """A site with nghttpd, which speaks HTTP/2 only, at https://web.example.com. Returns how often it saw the secret."""
    secret = site.credential("web", "web.example.com")
    folder = site.outside / "files"
    folder.mkdir()
    (folder / "page.html").write_bytes(WEB["page.html"])
    port = servers.free_port()
    more = ["--address=127.0.0.1", f"--htdocs={folder}", "--trailer=x-checksum: of-the-body", "--verbose"]
    server = servers.foreign(site, "nghttpd", [program("nghttpd"), *more, port, site.world.key, site.world.cert], port)
    site.api("web", port, FILES, "web")
    site.ready()

    def saw():
        server.stop()
        return (site.outside / "nghttpd.log").read_text(errors="replace").count(f"Bearer {secret}")

    return saw


@case("curl", "a server that speaks HTTP/2 only (nghttpd): response trailers over HTTP/2", "curl --version")
def trailers_second(site):
    saw = only_second(site)
    got = curl(site, "--http2", "--include", "https://web.example.com/page.html").well()
    holds(WEB["page.html"] in got.out, f"the body is not in {got.text}")
    holds("x-checksum: of-the-body" in got.text.lower(), f"no trailer in {got.text[-300:]}")
    expect(saw(), 1, "credentials that upstream saw")
    site.allowed(web__page=1)


@case("curl", "a server that speaks HTTP/2 only (nghttpd), asked over HTTP/1.1", "curl --version")
def plain_to_second(site):
    saw = only_second(site)
    got = curl(site, "--http1.1", "https://web.example.com/page.html").well()
    expect(got.out, WEB["page.html"], "body")
    expect(saw(), 1, "credentials that upstream saw")
    site.allowed(web__page=1)


def front(site, *version):
    """A site with Node's own server at https://front.example.com."""
    secret = site.credential("front", "front.example.com", env="FRONT_TOKEN")
    server = servers.node_front(site, *version)
    binary = '[tool.input.body]\nmedia = "binary"'
    tools = {
        "echo": ("POST /echo", binary),
        "put": ("PUT /echo", binary),
        "sink": ("POST /sink", binary),
        "nothing": "GET /nothing",
        "early": "GET /early",
        "trailers": "GET /trailers",
        "events": "GET /events",
        "go": "GET /go",
    }
    site.api("front", server.port, tools, "front")
    site.ready()
    return server, secret


@case("curl", "POST and PUT of random bytes, chunked and with a length", "curl --version")
def uploads(site):
    server, secret = front(site)
    body = os.urandom(300_000)
    (site.work / "body").write_bytes(body)
    for method in ("POST", "PUT"):
        for more in ([], ["--header", "Transfer-Encoding: chunked"]):
            command = ["--http1.1", "--request", method, "--data-binary", "@body", *more]
            expect(curl(site, *command, "https://front.example.com/echo").well().out, body, f"{method} {more}")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__echo=2, front__put=2)


@case("curl", "Expect: 100-continue", "curl --version")
def expects(site):
    server, secret = front(site)
    body = os.urandom(100_000)
    (site.work / "body").write_bytes(body)
    # It sends the body only when told to go on; the wait without that is longer than the whole case may take.
    more = ["--http1.1", "--expect100-timeout", "55", "--max-time", "30", "--header", "Expect: 100-continue"]
    done = curl(site, *more, "--verbose", "--data-binary", "@body", "https://front.example.com/sink").well()
    expect(json.loads(done.out)["sha256"], hashlib.sha256(body).hexdigest(), "digest of the body")
    holds(b"HTTP/1.1 100 Continue" in done.err, "the client saw no 100")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__sink=1)


@case("curl", "103 Early Hints", "curl --version")
def early(site):
    front(site)
    done = curl(site, "--http1.1", "--include", "https://front.example.com/early").well().text
    holds("\nHTTP/1.1 103" in done.replace("\r", "") and "rel=preload" in done and '{"early":true}' in done, f"got {done}")
    site.allowed(front__early=1)


def pulls(site, version, protocol):
    files = {f"{number}.bin": os.urandom(256 * 1024) for number in range(64)}
    tools = {"pull": "GET /{file}"}
    server, secret = web(site, http2=protocol == "HTTP/2.0", files=files, tools=tools)
    together = [version, "--parallel", "--parallel-immediate", "--parallel-max", "64", "--fail", "--remote-name-all"]
    curl(site, *together, *(f"https://web.example.com/{name}" for name in files)).well()
    for name, content in files.items():
        expect((site.work / name).read_bytes() == content, True, f"{name} arrived")
    server.saw_only(f"Bearer {secret}")
    site.allowed(web__pull=64)


@case("curl", "64 pulls at once; HTTP/1.1", "curl --version")
def pulls_plain(site):
    pulls(site, "--http1.1", "HTTP/1.1")


@case("curl", "64 pulls at once; HTTP/2", "curl --version")
def pulls_second(site):
    pulls(site, "--http2", "HTTP/2.0")


@case("wget", "POST of a form", "wget --version")
def wget(site):
    server, secret = front(site)
    more = ["--quiet", "--output-document=-", "--post-data=a=1&b=2"]
    said = site.sealed("wget", "--no-config", *more, "https://front.example.com/echo")
    expect(said.well().out, b"a=1&b=2", "body of POST")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__echo=1)


@case("wget", "GET, a download that goes on where it stopped", "wget --version")
def wget_continues(site):
    server, secret = web(site)
    (site.work / "part.bin").write_bytes(WEB["part.bin"][:1000])
    for name in ("page.html", "part.bin"):
        site.sealed("wget", "--no-config", "--quiet", "--continue", f"https://web.example.com/{name}").well()
        expect((site.work / name).read_bytes(), WEB[name], name)
    expect({one["status"] for one in server.seen()}, {200, 206}, "statuses")
    server.saw_only(f"Bearer {secret}")
    site.allowed(web__page=1, web__part=1)


@case("nghttp", "a client that speaks HTTP/2 only and knows no proxy", "nghttp --version")
def nghttp(site):
    server, secret = web(site)
    got = site.sealed("nghttp", "https://web.example.com/page.html").well()
    expect(got.out, WEB["page.html"], "body")
    server.saw_only(f"Bearer {secret}")
    site.allowed(web__page=1)
