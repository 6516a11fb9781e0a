"""Namespaces, processes and certificates of the gateway tests.

Nothing here touches the network of the machine: every namespace is ours, none has a way out, and `close` undoes all of
it, whatever happened before. Processes are ended by their own id.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = os.path.realpath("/usr/bin/python3") if os.path.exists("/usr/bin/python3") else sys.executable
PREFIX = "exeat-gw-"
# Close to the root, as the path of a socket may have 108 bytes.
FOLDERS = "/var/tmp"
PATIENCE_SECS = 60
CANARY = "CANARY-gateway-token-7Hq2"


class Failed(Exception):
    """A check did not hold."""


class World:
    def __init__(self, folder, binary):
        self.folder = pathlib.Path(folder)
        self.binary = binary
        self.processes = []
        self.namespaces = {}
        self.undo = []

    # Namespaces

    def namespace(self, name):
        full = f"{PREFIX}{os.getpid()}-{name}"
        run("ip", "netns", "add", full)
        self.namespaces[name] = full
        self.inside(name, "ip", "link", "set", "lo", "up")
        return full

    def link(self, one, other, network):
        """Joins two namespaces: `one` gets .1 and ::1 of the network, `other` .2 and ::2. `network` is its number."""
        ends = [(one, f"to-{other}", 1), (other, f"to-{one}", 2)]
        pair = [f"eg{os.getpid() % 100000}{side}{network}" for side in "ab"]
        run("ip", "link", "add", pair[0], "type", "veth", "peer", "name", pair[1])
        for (space, device, number), name in zip(ends, pair):
            run("ip", "link", "set", name, "netns", self.namespaces[space])
            self.inside(space, "ip", "link", "set", name, "name", device)
            self.inside(space, "ip", "addr", "add", f"10.{network}.0.{number}/24", "dev", device)
            self.inside(space, "ip", "addr", "add", f"fd{network}::{number}/64", "dev", device, "nodad")
            self.inside(space, "ip", "link", "set", device, "up")

    def inside(self, space, *argv, **options):
        return run(*self.enter(space), *argv, **options)

    def enter(self, space, files=None):
        """The words that run a command in a namespace, with some files of its own in place of the machine's."""
        words = ["nsenter", f"--net=/run/netns/{self.namespaces[space]}", "--"]
        if files:
            mounts = "".join(f"mount --bind '{ours}' \"$(realpath {theirs})\" && " for theirs, ours in files.items())
            words += ["unshare", "--mount", "--propagation", "private", "sh", "-c", mounts + 'exec "$@"', "sh"]
        return words

    # Processes

    def start(self, space, *argv, log, env=None, files=None):
        with open(self.folder / log, "ab") as out:
            process = subprocess.Popen(
                [*self.enter(space, files), *map(str, argv)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(env or {})}, cwd=self.folder, start_new_session=True)
        self.processes.append(process)
        process.log = self.folder / log
        return process

    def until(self, process, what, ready):
        end = time.monotonic() + PATIENCE_SECS
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise Failed(f"{what} did not start:\n{tail(process.log)}")
            time.sleep(0.05)

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        if process in self.processes:
            self.processes.remove(process)

    def close(self):
        for step in reversed(self.undo):
            try:
                step()
            except (OSError, subprocess.SubprocessError) as error:
                print(f"  while undoing: {error}", flush=True)
        for process in reversed(list(self.processes)):
            self.stop(process)
        for full in self.namespaces.values():
            end_all(full)
            remove(full)

    # Exeat

    def exeat(self, space, *argv, files=None, env=None, **options):
        words = [*self.enter(space, files), str(self.binary), *map(str, argv)]
        return run(*words, env={**os.environ, **self.exeat_env(), **(env or {})}, **options)

    def exeat_env(self):
        return {
            "EXEAT_CONFIG": str(self.folder / "config/exeat.toml"),
            "EXEAT_DATA": str(self.folder / "data"),
            "HOME": str(self.folder),
        }

    def gate(self, space):
        log = "gate.log"
        env = {**self.exeat_env(), "EXEAT_LOG": "info,exeat_proxy=debug"}
        process = self.start(space, self.binary, "serve", log=log, env=env)
        self.until(process, "the gate", lambda: "stop with Ctrl-C" in read(self.folder / log))
        return process

    def receipts(self, space):
        shown = self.exeat(space, "receipt", "list", "--json")
        return [json.loads(line) for line in shown.stdout.splitlines()]

    # Certificates

    def certificates(self, *names):
        """A root for upstreams, `root.pem`, and a leaf for each name, `NAME.pem` and `NAME.key`."""
        at = lambda name: str(self.folder / name)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        run("openssl", "req", "-x509", *key, "-keyout", at("root.key"), "-out", at("root.pem"), "-subj", "/CN=Test root")
        for name in names:
            run("openssl", "req", *key, "-keyout", at(f"{name}.key"), "-out", at(f"{name}.csr"), "-subj", f"/CN={name}")
            (self.folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\n")
            run("openssl", "x509", "-req", "-in", at(f"{name}.csr"), "-CA", at("root.pem"), "-CAkey", at("root.key"),
                "-CAcreateserial", "-days", "2", "-extfile", at(f"{name}.ext"), "-out", at(f"{name}.pem"))

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path


def run(*argv, check=True, timeout=120, **options):
    options.setdefault("capture_output", True)
    done = subprocess.run([str(word) for word in argv], text=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def expect(holds, what, detail=""):
    if not holds:
        raise Failed(f"{what}\n{detail}".rstrip())


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""


def tail(path, lines=30):
    return "\n".join(read(path).splitlines()[-lines:])


def remove(full):
    subprocess.run(["ip", "netns", "delete", full], capture_output=True, check=False)


def end_all(full):
    """Ends what still runs in a namespace of ours, such as the gate that took another's place."""
    end = time.monotonic() + 10
    while pids := run("ip", "netns", "pids", full, check=False).stdout.split():
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)


def remove_stale():
    """What a killed run left, by the id that its names carry: namespaces, the processes in them, and its folder."""
    for full in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        if is_stale(full):
            end_all(full)
            remove(full)
    for folder in os.listdir(FOLDERS):
        if is_stale(folder):
            shutil.rmtree(f"{FOLDERS}/{folder}", ignore_errors=True)


def is_stale(name):
    owner = name.removeprefix(PREFIX).split("-")[0]
    return name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}")


def missing(programs):
    return [name for name in programs if not shutil.which(name, path="/usr/sbin:/sbin:" + os.environ["PATH"])]
