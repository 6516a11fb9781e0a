#!/usr/bin/env python3
"""Gateway mode against the real kernel and the real Docker: tests/gateway/run.py [network] [docker] [registry]

`network` leads agents by REDIRECT and TPROXY, `registry` pulls images with a Docker engine behind the gate and copies one
inside `exeat run`, `docker` runs docker-compose.yml. Each says what it shows. Needs root, as it makes namespaces; touches
nothing outside them. EXEAT_BINARY names the binary, else it is the debug build.
"""

import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback

import docker
import network
import registry
from world import FOLDERS, PREFIX, Failed, World, missing, remove_stale

AREAS = {"network": network.check, "registry": registry.check, "docker": docker.check}
# `registry` goes on where `network` ends: the same gate, one more agent behind it.
NEEDS = {"registry": ["network"]}
PROGRAMS = "ip nsenter nft curl openssl dockerd docker docker-compose docker-registry skopeo busybox iptables strip".split()


def main():
    if os.geteuid() != 0:
        if missing(["sudo"]):
            sys.exit("gateway: has to run as root, as it makes network namespaces, and there is no `sudo`")
        os.execvp("sudo", ["sudo", "-n", "--preserve-env=EXEAT_BINARY,CARGO_TARGET_DIR,PATH,HOME", sys.executable, *sys.argv])
    absent = missing(PROGRAMS)
    if absent:
        sys.exit(f"gateway: missing {', '.join(absent)}; `make setup` installs them")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/exeat/target"))
    binary = pathlib.Path(os.environ.get("EXEAT_BINARY", f"{target}/debug/exeat"))
    if not binary.exists():
        sys.exit(f"gateway: there is no `{binary}`; `make build` makes it")
    wanted = sys.argv[1:] or list(AREAS)
    wanted = [area for area in AREAS if area in wanted or any(area in NEEDS.get(other, []) for other in wanted)]
    remove_stale()
    # A run that is told to end undoes what it did.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("gateway: told to end"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=FOLDERS) as folder:
        os.chmod(folder, 0o755)
        world = World(folder, binary)
        try:
            failed = not all([attempt(area, world) for area in wanted])
        finally:
            world.close()
    print(f"gateway: {'FAILED' if failed else 'all ok'} in {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(failed)


def attempt(area, world):
    began = time.monotonic()
    say = lambda text: print(f"  {text}", flush=True)
    print(f"{area}:", flush=True)
    try:
        AREAS[area](world, say)
    except Failed as failure:
        print(f"{area}: FAILED: {failure}", flush=True)
        return False
    except Exception:  # noqa: BLE001 -- what was set up has to be undone all the same
        print(f"{area}: FAILED\n{traceback.format_exc()}", flush=True)
        return False
    print(f"{area}: ok in {time.monotonic() - began:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    main()
