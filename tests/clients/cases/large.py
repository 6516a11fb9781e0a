"""A GiB each way, while the memory of the gate is watched."""

import hashlib
import json
import pathlib

from cases import case
from cases.curl import curl, front, web
from world import expect, holds

BYTES = 1 << 30
# What the gate may take beyond what it had: buffers, not bodies.
GROWTH_BYTES_MAX = 96 << 20


def sparse(path):
    """A GiB of which the beginning and the end are not zero. Returns its digest."""
    with path.open("wb") as file:
        file.write(b"beginning")
        file.seek(BYTES - 3)
        file.write(b"end")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Memory:
    """How far the peak of a process's memory rose while this was open."""

    def __init__(self, pid):
        self.status = pathlib.Path(f"/proc/{pid}/status")

    def __enter__(self):
        self.before = self.peak()
        return self

    def __exit__(self, kind, value, trace):
        self.growth = self.peak() - self.before

    def peak(self):
        lines = self.status.read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def warm(site, url):
    """A first request, so that what any request needs is there before it is measured."""
    curl(site, url).well()


@case("curl", "a download of 1 GiB, the gate's memory flat", "curl --version", long=True, alone=True)
def download(site):
    tools = {"page": "GET /page.html", "large": "GET /large.bin"}
    server, secret = web(site, files={"page.html": b"hello"}, tools=tools)
    digest = sparse(site.outside / "files/large.bin")
    warm(site, "https://web.example.com/page.html")
    with Memory(site.gate()) as memory:
        got = curl(site, "--max-time", "170", "--output", "large.bin", "https://web.example.com/large.bin")
    got.well()
    with (site.work / "large.bin").open("rb") as file:
        expect(hashlib.file_digest(file, "sha256").hexdigest(), digest, "digest")
    print(f"{'':6} peak of the gate: {memory.before >> 20} MiB before, {memory.growth >> 20} MiB more after")
    holds(memory.growth < GROWTH_BYTES_MAX, f"the gate grew by {memory.growth >> 20} MiB")
    server.saw_only(f"Bearer {secret}")
    site.allowed(web__page=1, web__large=1)


@case("curl", "an upload of 1 GiB, the gate's memory flat", "curl --version", long=True, alone=True)
def upload(site):
    server, secret = front(site)
    digest = sparse(site.work / "large.bin")
    warm(site, "https://front.example.com/early")
    with Memory(site.gate()) as memory:
        send = ["--max-time", "170", "--request", "POST", "--upload-file", "large.bin"]
        got = curl(site, *send, "https://front.example.com/sink")
    sunk = json.loads(got.well().out)
    expect((sunk["bytes"], sunk["sha256"]), (BYTES, digest), "length and digest")
    print(f"{'':6} peak of the gate: {memory.before >> 20} MiB before, {memory.growth >> 20} MiB more after")
    holds(memory.growth < GROWTH_BYTES_MAX, f"the gate grew by {memory.growth >> 20} MiB")
    server.saw_only(f"Bearer {secret}")
    site.allowed(front__early=1, front__sink=1)
