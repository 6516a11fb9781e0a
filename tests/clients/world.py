"""What every case shares (a test root, a leaf for `*.example.com`, the binary) and what each has for itself: a site.

A site is a configuration with a gate of its own. What its servers saw lies outside the site's folder, so that a secret
found inside it is a leak. Commands run inside `exeat run` with nothing of the caller's environment but the path.
"""

import base64
import dataclasses
import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).parent
COMMAND_SECONDS_MAX = 180
ENDING_SECONDS_MAX = 20
# Larger files are the bodies of the cases that measure memory.
LOOKED_THROUGH_BYTES_MAX = 1 << 28
LEAF = """\
basicConstraints = critical, CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:*.example.com
"""


class Failed(Exception):
    """A case found something other than what it expects."""


def expect(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: expected {shorten(wanted)}, got {shorten(found)}")


def holds(truth, what):
    if not truth:
        raise Failed(what)


def shorten(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) < 1500 else f"{text[:700]} ... {text[-700:]}"


def program(name):
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Failed(f"`{name}` is missing; run scripts/setup")
    return found


def own(*command, **more):
    """Runs a program of ours outside any sandbox; it has to end well. Returns what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS_MAX, **more)
    if done.returncode != 0:
        raise Failed(f"{command[0]} ended with {done.returncode}: {shorten(done.stdout + done.stderr)}")
    return done.stdout


class World:
    """What the cases share."""

    def __init__(self, exeat, real, folder):
        self.exeat, self.real, self.folder = pathlib.Path(exeat), pathlib.Path(real), pathlib.Path(folder)
        self.python = str(self.real / "python/bin/python")
        self.modules = self.real / "node/node_modules"
        self.root, self.key, self.cert = (self.folder / name for name in ("root.pem", "key.pem", "cert.pem"))
        self._making = threading.Lock()
        self._make_certificates()

    def found(self, pattern):
        """The one file that a pattern names, with {real}, {modules} and {python} filled in."""
        names = {"real": self.real, "modules": self.modules, "python": self.python}
        found = glob.glob(pattern.format(**names))
        holds(len(found) == 1, f"expected one file, got {found} for {pattern}; run scripts/real-deps")
        return found[0]

    def made(self, name, make):
        """A file that several cases use; the first of them makes it."""
        path = self.folder / name
        with self._making:
            if not path.exists():
                make(path)
        return path

    def site(self, name):
        return Site(self, self.folder / name)

    def _make_certificates(self):
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        root_key, request, leaf = (self.folder / name for name in ("root.key", "leaf.csr", "leaf.ext"))
        leaf.write_text(LEAF, encoding="ascii")
        own(*new, "-x509", "-days", "2", "-subj", "/CN=Root of the client tests", "-keyout", root_key, "-out", self.root)
        own(*new, "-subj", "/CN=example.com", "-keyout", self.key, "-out", request)
        sign = ["openssl", "x509", "-req", "-days", "2", "-CA", self.root, "-CAkey", root_key, "-set_serial", "1"]
        own(*sign, "-in", request, "-extfile", leaf, "-out", self.cert)


@dataclasses.dataclass
class Done:
    """What a client printed, and how it ended."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self):
        return self.out.decode(errors="replace")

    def well(self):
        if self.status != 0:
            said = f"{self.text}\n{self.err.decode(errors='replace')}"
            raise Failed(f"the client ended with {self.status}: {shorten(said)}")
        return self

    def lines(self):
        """The lines of JSON that it printed."""
        try:
            return [json.loads(line) for line in self.text.splitlines()]
        except ValueError as problem:
            raise Failed(f"{problem} in what the client printed: {shorten(self.text)}") from problem


class Site:
    """A configuration, the gate that it makes, and the servers that it leads to. Used as a context: it ends its servers."""

    def __init__(self, world, folder):
        self.world, self.inside, self.outside = world, folder / "inside", folder / "outside"
        self.work, self.home = self.inside / "work", self.inside / "home"
        for path in (self.work, self.home, self.inside / "tools", self.outside):
            path.mkdir(parents=True)
        shutil.copy(world.root, self.inside / "root.pem")
        self._credentials, self._ports, self._servers, self._secrets, self._leaks = [], {}, [], {}, []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for server in reversed(self._servers):
            server.stop()

    def keep(self, server):
        """Ends a server with the site."""
        self._servers.append(server)
        return server

    def credential(self, name, host, env=None, **more):
        """Declares a credential (a bearer token unless told otherwise) and returns its secret."""
        secret = f"CANARY-{name}-0123456789abcdefghij"
        fields = {"kind": "bearer", "secret": f"sealed:{name}", "hosts": [host]} | more
        if env:
            fields["env"] = env
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        self._credentials.append("\n".join([f"[credentials.{name}]", *lines]))
        self._secrets[name] = secret
        pair = base64.b64encode(f"{more.get('username')}:{secret}".encode())
        self._leaks += [secret.encode(), pair]
        return secret

    def api(self, name, port, tools, credential=None):
        """Declares `https://NAME.example.com`, where a server listens on a port of loopback.

        Tools are `NAME: "METHOD PATH"`, or a pair of that and further lines of TOML.
        """
        lines = [f'[api]\nname = "{name}"\norigin = "https://{name}.example.com"']
        if credential:
            lines.append(f'credential = "{credential}"')
        for tool, told in tools.items():
            request, more = told if isinstance(told, tuple) else (told, "")
            category = "read" if request.split()[0] in ("GET", "HEAD") else "write"
            lines.append(f'\n[[tool]]\nname = "{tool}"\nrequest = "{request}"\ncategory = "{category}"\n{more}')
        (self.inside / f"tools/{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._ports[f"{name}.example.com:443"] = port

    def ready(self, network=""):
        """Writes what was declared, and seals the secrets. `network` is more TOML for that section."""
        ports = "\n".join(f'"{host}" = "127.0.0.1:{port}"' for host, port in self._ports.items())
        private = json.dumps(list(self._ports))
        lines = ["[network]", f"allow-private = {private}", 'upstream-roots = ["root.pem"]', network]
        network = "\n".join([*lines, "[network.connect-to]", ports])
        parts = ["[agents.coder]", *self._credentials, network]
        (self.inside / "exeat.toml").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        rule = '[[rule]]\nname = "what is declared"\nagents = ["coder"]\ntools = ["*"]\neffect = "allow"\n'
        (self.inside / "policy.toml").write_text(rule, encoding="utf-8")
        for path in (self.inside / "tools").iterdir():
            path.chmod(0o600)
        for name, secret in self._secrets.items():
            self.ask("secret", "set", name, input=secret)

    def sealed(self, *command, env=None, seconds_max=COMMAND_SECONDS_MAX):
        """Runs a client inside `exeat run`. It must not print a secret."""
        child = self.start(*command, env=env)
        try:
            out, err = child.communicate(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            child.terminate()
            out, err = child.communicate(timeout=20)
            raise Failed(f"the client did not end: {shorten((out + err).decode(errors='replace'))}") from None
        return self.printed(Done(child.returncode, out, err))

    def start(self, *command, env=None):
        """Starts a client inside `exeat run`, for cases that watch it."""
        return subprocess.Popen(
            [*self._exeat(), "run", "--", *map(str, command)],
            cwd=self.work,
            env=self._environment(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def printed(self, done):
        holds(not self._leaked(done.out + done.err), "the client could show a secret")
        return done

    def receipts(self):
        """Every receipt, as (tool, decision, status or reason), sorted, when all calls have ended."""
        deadline = time.monotonic() + ENDING_SECONDS_MAX
        while True:
            found = self._receipts()
            # The last byte may be with the client before the outcome is on disk.
            if all(decision != "open" for _, decision, _ in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def _receipts(self):
        listed = self.ask("--json", "receipt", "list", "--limit", "100000")
        found = []
        for receipt in map(json.loads, listed.splitlines()):
            asked, outcome = receipt.get("refusal") or receipt["intent"], receipt.get("outcome") or {}
            reason = asked.get("reason") or outcome.get("reason") or outcome.get("status")
            found.append((asked["tool"], receipt["decision"], reason))
        return sorted(found, key=repr)

    def allowed(self, **tools):
        """Expects these counts of allowed calls by tool, all of them ended well, and nothing else. None: at least one."""
        counts = {}
        for tool, decision, ending in self.receipts():
            holds(decision == "allowed" and isinstance(ending, int), f"receipt {tool} {decision} {ending}")
            counts[tool] = counts.get(tool, 0) + 1
        wanted = {name.replace("__", "."): count for name, count in tools.items()}
        loose = {name: counts.get(name) if count is None else count for name, count in wanted.items()}
        holds(None not in loose.values(), f"a tool has no receipt: {loose}")
        expect(counts, loose, "receipts")

    def holds_no_secret(self):
        """Looks through every file of the site, the journal and the log among them."""
        for path in self.inside.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < LOOKED_THROUGH_BYTES_MAX:
                holds(not self._leaked(path.read_bytes()), f"a secret lies in {path}")

    def _leaked(self, content):
        return any(secret in content for secret in self._leaks)

    def ask(self, *words, **more):
        """Runs a command of ours on this site, outside any sandbox. Returns what it printed."""
        return own(*self._exeat(), *words, env=self._environment({}), **more)

    def gate(self):
        """The process id of the gate that serves this site."""
        found = re.search(r"\d+", (self.inside / "data/ledger/holder").read_text(encoding="utf-8"))
        return int(found.group())

    def _exeat(self):
        return [str(self.world.exeat), "--config", str(self.inside / "exeat.toml"), "--data", str(self.inside / "data")]

    def _environment(self, more):
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        return kept | {"HOME": str(self.home)} | {name: str(value) for name, value in more.items()}
