"""Starting servers: real ones of others, and small ones of ours. All listen on loopback only, on ports of their own."""

import json
import os
import pathlib
import socket
import subprocess
import time

from world import Failed, expect, program

HERE = pathlib.Path(__file__).parent
REAL = HERE.parent.parent / "real"
READY_SECONDS_MAX = 40


class Server:
    """A process, the port it listens on, and the file in which it writes down what it saw."""

    def __init__(self, process, port, record=None):
        self.process, self.port, self.record = process, port, record

    def seen(self):
        """The requests that it saw."""
        text = self.record.read_text(encoding="utf-8") if self.record.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def saw_only(self, authorization):
        """Every request carried this credential, and there was one at least."""
        expect({one["authorization"] for one in self.seen()}, {authorization}, "credentials that upstream saw")

    def stop(self):
        if self.process.stdin:
            self.process.stdin.close()
        else:
            self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def ours(site, name, *command):
    """Starts a program that prints {"port": N} when it is ready and ends when its standard input ends."""
    record = site.outside / f"{name}.seen"
    more = ["--key", site.world.key, "--cert", site.world.cert, "--record", record]
    server = started(site, name, [*command, *more])
    server.record = record
    return server


def started(site, name, command):
    """Waits for the line of JSON with the port."""
    log = (site.outside / f"{name}.log").open("wb")
    pipe = subprocess.PIPE
    process = subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, stderr=log)
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise Failed(f"{name} did not start: {(site.outside / f'{name}.log').read_text(errors='replace')}")
    return site.keep(Server(process, json.loads(line)["port"]))


def node_front(site, *more):
    """Node's own servers of HTTP/1.1 and HTTP/2."""
    return ours(site, "front", program("node"), HERE / "front.mjs", *more)


def python(site, script, *more):
    """One of the Python servers of this folder."""
    return ours(site, pathlib.Path(script).stem, site.world.python, HERE / script, *more)


def git(site, secret, large_port=None):
    """`git http-backend` of tests/real; with a port, its large files are proxied there."""
    login = ["--user", "agent", "--password", secret]
    large = ["--large", large_port] if large_port else []
    folder = site.outside / "git"
    tls = ["--key", site.world.key, "--cert", site.world.cert]
    command = [site.world.python, REAL / "git_server/start.py", "--dir", folder, *login, *large, *tls]
    server = started(site, "git", command)
    server.record = folder / "seen.log"
    return server


def foreign(site, name, command, port, **more):
    """Starts a server of others that cannot say when it is ready, and waits for its port."""
    log = (site.outside / f"{name}.log").open("wb")
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
    server = site.keep(Server(process, port))
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return server
        except OSError:
            time.sleep(0.05)
    raise Failed(f"{name} did not start: {(site.outside / f'{name}.log').read_text(errors='replace')}")


def free_port():
    """A port for a server that cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def nginx(site, authorization, locations, http2=True):
    """nginx with TLS; who does not bring this Authorization gets 401. Serves what `locations` says."""
    template = (HERE / "nginx.conf").read_text(encoding="utf-8")
    folder = site.outside / "nginx"
    folder.mkdir()
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    port = listener.getsockname()[1]
    values = {"DIR": folder, "PORT": port, "KEY": site.world.key, "CERT": site.world.cert}
    # Started by root, its worker would become somebody who cannot read the folder.
    values |= {"USER": "user root;" if os.getuid() == 0 else "", "HTTP2": "http2" if http2 else ""}
    values |= {"AUTHORIZATION": authorization, "LOCATIONS": locations}
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    (folder / "nginx.conf").write_text(template, encoding="utf-8")
    command = [program("nginx"), "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    # It cannot choose a port and say so; it can be given a socket that listens already.
    environment = {**os.environ, "NGINX": f"{listener.fileno()};"}
    server = foreign(site, "nginx", command, port, env=environment, pass_fds=[listener.fileno()])
    listener.close()
    server.record = folder / "seen.log"
    return server
