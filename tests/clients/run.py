#!/usr/bin/env python3
"""Runs unmodified clients inside `exeat run` against real servers on loopback, and checks what came through.

    python run.py [--exeat FILE] [--real FOLDER] [--publish] [--keep] [NAME ...]

NAME picks cases whose client holds it. Without names the rows of docs/CLIENTS.md must be exactly the cases, so that what
is published is what was checked; `--publish` writes them. Ends with 1 when a case fails.
"""

import argparse
import concurrent.futures
import dataclasses
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import cases  # noqa: E402
import world  # noqa: E402

PAGE = HERE.parent.parent / "docs" / "CLIENTS.md"
BEGIN, END = "<!-- made by tests/clients/run.py --publish -->\n", "<!-- end -->\n"
HEADING = "| client | version | what was done | works |\n|---|---|---|---|\n"


@dataclasses.dataclass
class Outcome:
    """How a case ended."""

    case: cases.Case
    problem: str
    seconds: float


def main():
    cache = pathlib.Path(os.environ.get("EXEAT_CACHE", pathlib.Path.home() / ".cache/exeat"))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", cache / "target"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--exeat", default=target / "debug/exeat", type=pathlib.Path)
    parser.add_argument("--real", default=cache / "real", type=pathlib.Path)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configurations, journals and logs")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    for path in sorted((HERE / "cases").glob("[a-z]*.py")):
        importlib.import_module(f"cases.{path.stem}")
    picked = [case for case in cases.ALL if not options.names or any(name in case.client for name in options.names)]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="exeat-clients-"))
    shared = world.World(options.exeat.resolve(), options.real, folder)
    print(f"{len(picked)} cases", flush=True)
    outcomes = run_all(shared, picked)
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        print(f"\n--- {outcome.case.client}: {outcome.case.shows}\n{outcome.problem}")
    if options.keep or failed:
        print(f"kept: {folder}")
    else:
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    complete = not options.names and not failed
    if options.publish and complete:
        publish(shared, picked)
    elif not options.names and published() != [(case.client, case.shows) for case in order(picked)]:
        print("docs/CLIENTS.md does not list exactly these cases; run with --publish")
        complete = False
    print(f"{len(picked) - len(failed)} of {len(picked)} passed")
    sys.exit(1 if failed or not (complete or options.names) else 0)


def run_all(shared, picked):
    """The long ones first, two at a time more than there are processors would be too many for the timeouts of clients."""
    waiting = sorted(picked, key=lambda case: not case.long)
    # A case that measures memory or time has the machine for itself.
    alone = [case for case in waiting if case.alone]
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=(os.cpu_count() or 2) + 1) as pool:
        for future in concurrent.futures.as_completed(
            [pool.submit(run_one, shared, case) for case in waiting if not case.alone]
        ):
            outcomes.append(future.result())
    return outcomes + [run_one(shared, case) for case in alone]


def run_one(shared, case):
    began = time.monotonic()
    try:
        # Short, since sockets lie below it.
        with shared.site(f"{cases.ALL.index(case)}-{case.run.__name__}") as site:
            case.run(site)
            site.holds_no_secret()
        problem = ""
    except world.Failed as failed:
        problem = str(failed)
    except Exception:  # noqa: BLE001 a case that breaks is a case that fails
        problem = traceback.format_exc()
    outcome = Outcome(case, problem, time.monotonic() - began)
    print(f"{'FAILED' if problem else 'ok':6} {outcome.seconds:5.1f} s  {case.client}: {case.shows}", flush=True)
    return outcome


def order(picked):
    return sorted(picked, key=lambda case: (case.works != "yes", case.client.lower(), case.shows))


def publish(shared, picked):
    rows = [f"| {case.client} | {case.version(shared)} | {case.shows} | {case.works} |\n" for case in order(picked)]
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + HEADING + "".join(rows) + END + after, encoding="utf-8")


def published():
    """The rows of the page: client, and what was done."""
    rows = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].splitlines()[2:]
    return [(cells[1], cells[3]) for cells in ([cell.strip() for cell in row.split("|")] for row in rows)]


if __name__ == "__main__":
    main()
