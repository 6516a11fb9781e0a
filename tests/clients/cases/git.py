"""git and git-lfs."""

import base64
import os

import servers
from cases import case
from world import expect, holds, own, program

TOOLS = {
    "refs": ("GET /{repo}/info/refs", '[tool.input.query]\nproperties = { service = { type = "string" } }'),
    "fetch": ("POST /{repo}/git-upload-pack", '[tool.input.body]\nmedia = "binary"'),
    "push": ("POST /{repo}/git-receive-pack", 'protocol = "git"'),
    "batch": (
        "POST /{repo}/info/lfs/objects/batch",
        '[tool.input.body]\ntype = "object"\nproperties = { operation = { enum = ["upload", "download"] } }',
    ),
    "locks": ("POST /{repo}/info/lfs/locks/verify", '[tool.input.body]\ntype = "object"'),
    "upload": ("PUT /{repo}/lfs/{oid}", '[tool.input.body]\nmedia = "binary"'),
    "download": "GET /{repo}/lfs/{oid}",
}
AUTHOR = ["-c", "user.name=agent", "-c", "user.email=agent@example.com", "-c", "commit.gpgsign=false"]
ENV = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_LFS_SKIP_SMUDGE": "0"}


def site_of_git(site):
    """`git http-backend` behind nginx, with Basic authentication; large files go to a simulated server."""
    secret = site.credential("git", "git.example.com", kind="basic", username="agent")
    server = servers.git(site, secret)
    site.api("git", server.port, TOOLS, "git")
    return server, "Basic " + base64.b64encode(f"agent:{secret}".encode()).decode()


def git(site, *arguments, folder="clone"):
    """One git command of the agent, in its clone."""
    return site.sealed(program("git"), *AUTHOR, "-C", site.work / folder, *arguments, env=ENV).well()


@case("git", "clone, push of a branch, push of 3 MiB in chunks, fetch", "git --version")
def clone_and_push(site):
    server, authorization = site_of_git(site)
    site.ready()
    git(site, "clone", "--quiet", "https://git.example.com/hello.git", "clone", folder=".")
    expect((site.work / "clone/README").read_text(), "hello\n", "a file of the clone")
    noise = os.urandom(3 * 1024 * 1024)
    (site.work / "clone/noise").write_bytes(noise)
    for command in (["checkout", "-q", "-b", "topic"], ["add", "noise"], ["commit", "-q", "-m", "noise"]):
        own(program("git"), *AUTHOR, "-C", site.work / "clone", *command)
    git(site, "push", "--quiet", "origin", "topic")
    git(site, "fetch", "--quiet", "origin")
    git(site, "clone", "--quiet", "--branch", "topic", "https://git.example.com/hello.git", "again", folder=".")
    expect((site.work / "again/noise").read_bytes() == noise, True, "the pushed file came back")
    server.saw_only(authorization)
    receipts = {tool for tool, *_ in site.receipts()}
    expect(receipts, {"git.refs", "git.fetch", "git.push"}, "receipts")


@case("git-lfs", "push and pull of a large file (the LFS server is simulated)", "git-lfs version")
def large_files(site):
    secret = site.credential("git", "git.example.com", kind="basic", username="agent")
    lfs = servers.python(site, "lfs_server.py")
    server = servers.git(site, secret, lfs.port)
    site.api("git", server.port, TOOLS, "git")
    site.ready()
    authorization = "Basic " + base64.b64encode(f"agent:{secret}".encode()).decode()
    git(site, "clone", "--quiet", "https://git.example.com/hello.git", "clone", folder=".")
    noise = os.urandom(5 * 1024 * 1024)
    (site.work / "clone/large.bin").write_bytes(noise)
    (site.work / "clone/.gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    install = ["lfs", "install", "--local", "--skip-smudge"]
    for command in (install, ["checkout", "-q", "-b", "large"], ["add", "."], ["commit", "-q", "-m", "large"]):
        own(program("git"), *AUTHOR, "-C", site.work / "clone", *command)
    git(site, "push", "--quiet", "origin", "large")
    git(site, "clone", "--quiet", "--branch", "large", "https://git.example.com/hello.git", "again", folder=".")
    holds((site.work / "again/large.bin").stat().st_size < 1000, "the clone has only the pointer")
    own(program("git"), "-C", site.work / "again", *install)
    git(site, "lfs", "pull", folder="again")
    expect((site.work / "again/large.bin").read_bytes() == noise, True, "the large file came back")
    server.saw_only(authorization)
    receipts = {tool for tool, *_ in site.receipts()}
    holds({"git.batch", "git.upload", "git.download"} <= receipts, f"receipts {receipts}")
