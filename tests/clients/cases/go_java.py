"""The HTTP clients of Go's and Java's standard libraries, from programs that know nothing of a proxy."""

import os

from cases import case
from cases.curl import front
from world import HERE, expect, own, program


def check(site, command, protocol, version):
    server, secret = front(site, "--version", version)
    got = site.sealed(*command).well().lines()[0]
    expect((got["status"], got["same"], got["protocol"]), (200, True, protocol), f"answer {got}")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__echo=1)


def go(site, protocol, version):
    built = site.world.made("post", build)
    check(site, [built], protocol, version)


def build(path):
    env = {"PATH": os.environ["PATH"], "HOME": str(path.parent), "GO111MODULE": "off"}
    own(program("go"), "build", "-o", path, HERE / "programs/post.go", env=env)


@case("Go net/http", "POST to an HTTP/1.1 server", "go version", long=True)
def go_plain(site):
    go(site, "HTTP/2.0", "1")


@case("Go net/http", "POST to a server that speaks HTTP/2 only", "go version", long=True)
def go_second(site):
    go(site, "HTTP/2.0", "2")


@case("Java HttpClient", "POST to an HTTP/1.1 server", "java -version", long=True)
def java_plain(site):
    check(site, [program("java"), HERE / "programs/Post.java"], "HTTP_2", "1")


@case("Java HttpClient", "POST to a server that speaks HTTP/2 only", "java -version", long=True)
def java_second(site):
    check(site, [program("java"), HERE / "programs/Post.java"], "HTTP_2", "2")
