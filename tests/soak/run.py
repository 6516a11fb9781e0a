#!/usr/bin/env python3
"""Keeps one gate under mixed load, with reloads and sandboxes that come and go, and looks whether anything grows.

    python run.py [--minutes 0.4] [--exeat FILE] [--real FOLDER] [--keep]

Checks at the end: no call failed, memory and descriptors of the gate are flat, every call has one closed receipt, and
the receipts verify. Ends with 1 when something is otherwise. `make soak` runs it for 30 minutes.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "clients"))

import servers  # noqa: E402
import world  # noqa: E402
from world import Failed, expect, holds  # noqa: E402

WORKERS = 4
# Between the second and the last quarter of the time, after caches have filled.
GROWTH_KIB_MAX = 16 * 1024
DESCRIPTORS_MAX = 24
STATIC = "root {files};\n"
RULES = """\
# Change {number}
[[rule]]
name = "reads"
agents = ["coder"]
tools = ["web.*"]
category = ["read"]
effect = "allow"
"""


class Watcher(threading.Thread):
    """Does something every so often until it is told to stop, and keeps what went wrong."""

    def __init__(self, every, act):
        super().__init__(daemon=True)
        self.every, self.act, self.over, self.problem, self.times = every, act, threading.Event(), None, 0

    def run(self):
        while not self.over.wait(self.every):
            try:
                self.act(self.times)
            except Exception as problem:  # noqa: BLE001 told by `stop`
                self.problem = problem
                return
            self.times += 1

    def stop(self):
        self.over.set()
        self.join()
        if self.problem:
            raise self.problem


def site_of(shared):
    """A site with two pages behind a credential; deleting is declared, and no rule allows it."""
    site = shared.site("soak")
    secret = site.credential("web", "web.example.com")
    folder = site.outside / "files"
    folder.mkdir()
    (folder / "page.html").write_bytes(b"<p>hello</p>\n" * 80)
    (folder / "large.bin").write_bytes(os.urandom(2 << 20))
    front = servers.nginx(site, f"Bearer {secret}", STATIC.format(files=folder), False)
    tools = {"page": "GET /page.html", "large": "GET /large.bin", "gone": "DELETE /page.html"}
    site.api("web", front.port, tools, "web")
    site.ready()
    write_rules(site, 0)
    return site


def write_rules(site, number):
    """Replaces the rules whole, as an editor does."""
    fresh = site.inside / "policy.new"
    fresh.write_text(RULES.format(number=number), encoding="utf-8")
    fresh.rename(site.inside / "policy.toml")


def serves(site):
    """Whether the holder of the folder is the gate of the load; before it, other commands held it for a moment."""
    try:
        return b"serve" in pathlib.Path(f"/proc/{site.gate()}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, AttributeError):
        return False


def sizes(pid):
    """Resident KiB and open descriptors; nothing when the gate has just ended, as nobody uses it any more."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        return [(int(resident), len(os.listdir(f"/proc/{pid}/fd")))]
    except (FileNotFoundError, StopIteration):
        return []


def soak(site, seconds):
    """Runs the load beside reloads and short sandboxes; gives what the client said, and the sizes of the gate."""
    samples = []
    child = site.start(sys.executable, HERE / "client.py", seconds, WORKERS)
    while not serves(site):
        holds(child.poll() is None, "the load did not start")
        time.sleep(0.05)
    pid = site.gate()
    watchers = [
        Watcher(1, lambda _: samples.extend(sizes(pid))),
        Watcher(2, lambda times: write_rules(site, times + 1)),
        Watcher(3, lambda _: site.sealed("true").well()),
    ]
    for watcher in watchers:
        watcher.start()
    try:
        out, err = child.communicate(timeout=seconds + 120)
    except subprocess.TimeoutExpired:
        child.terminate()
        raise Failed("the load did not end") from None
    finally:
        for watcher in watchers:
            watcher.stop()
    done = site.printed(world.Done(child.returncode, out, err)).well()
    return done.lines()[-1], samples, [watcher.times for watcher in watchers]


def check(site, told, samples):
    expect(told["problems"], [], "problems of the clients")
    holds(told["calls"] > 0 and told["refused"] > 0, f"calls of both kinds: {told}")
    holds(samples, "the gate was never looked at")
    quarter = max(len(samples) // 4, 1)
    early, late = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    grown = [statistics.median(now) - statistics.median(then) for then, now in zip(zip(*early), zip(*late))]
    holds(grown[0] < GROWTH_KIB_MAX, f"the gate grew by {grown[0]} KiB")
    holds(grown[1] < DESCRIPTORS_MAX, f"the gate holds {grown[1]} more descriptors")
    export, key = site.inside / "receipts.jsonl", site.inside / "receipts.key"
    key.write_text(site.ask("receipt", "key"), encoding="ascii")
    site.ask("receipt", "export", "--out", str(export))
    verify = [site.world.exeat, "receipt", "verify", export, "--key", key]
    verified = subprocess.run(list(map(str, verify)), capture_output=True, text=True, check=False)
    # 3: right as far as it goes; without an anchor nothing proves that it ends there.
    expect(verified.returncode, 3, f"verification: {verified.stdout}{verified.stderr}")
    intents, outcomes, refusals = count(export)
    expect((intents, outcomes), (told["calls"], told["calls"]), "intents and outcomes of calls")
    expect(refusals, told["refused"], "refusals")
    return grown


def count(export):
    """Calls that were let out, calls that ended, and calls that were refused, each by its own id."""
    intents, outcomes, refusals = [], [], 0
    with export.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            match record.get("kind"):
                case "call-intent":
                    intents.append(record["body"]["call"])
                case "call-outcome":
                    outcomes.append(record["body"]["call"])
                case "call-refused":
                    refusals += record["body"]["count"]
    expect(len(set(intents)), len(intents), "intents with an id of their own")
    expect(sorted(outcomes), sorted(intents), "one outcome for each intent")
    return len(intents), len(outcomes), refusals


def main():
    cache = pathlib.Path(os.environ.get("EXEAT_CACHE", pathlib.Path.home() / ".cache/exeat"))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", cache / "target"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", default=0.4, type=float)
    parser.add_argument("--exeat", default=target / "debug/exeat", type=pathlib.Path)
    parser.add_argument("--real", default=cache / "real", type=pathlib.Path)
    parser.add_argument("--keep", action="store_true", help="keep the folder with configuration, journal and log")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exeat-soak-"))
    shared = world.World(options.exeat.resolve(), options.real, folder)
    try:
        with site_of(shared) as site:
            told, samples, (_, reloads, sandboxes) = soak(site, options.minutes * 60)
            grown = check(site, told, samples)
            site.holds_no_secret()
    except Failed as failed:
        print(f"FAILED: {failed}\nkept: {folder}")
        sys.exit(1)
    resident, descriptors = samples[-1]
    print(
        f"{options.minutes:g} minutes: {told['calls']} calls and {told['refused']} refusals in {reloads} reloads, "
        f"{sandboxes} sandboxes beside; the gate has {resident // 1024} MiB ({grown[0]:+g} KiB) and "
        f"{descriptors} descriptors ({grown[1]:+g}); receipts verify"
    )
    if not options.keep:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


if __name__ == "__main__":
    main()
