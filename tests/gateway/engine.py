"""A real Docker engine in a namespace of ours, and images for it that are made of this machine's files: nothing is pulled."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile

from world import PYTHON, read, run

# Debian's own, before any other that the machine may have.
DOCKER = "/usr/bin/docker"


def start(world, space, files=None, env=None):
    """dockerd keeps its bridges and its rules in the namespace; its folder goes when the test goes."""
    home = world.folder / "docker"
    (home / "data").mkdir(parents=True)
    socket = f"unix://{home}/docker.sock"
    process = world.start(
        space, "dockerd", "--data-root", home / "data", "--exec-root", home / "exec", "-H", socket, "--pidfile", home / "pid",
        log="dockerd.log", files=files, env=env)
    world.until(process, "dockerd", lambda: "API listen on" in read(process.log))
    world.docker_host = socket
    return process


def docker(world, *argv, **options):
    return run(DOCKER, *argv, env={**os.environ, "DOCKER_HOST": world.docker_host, "HOME": str(world.folder)}, **options)


def image(world, name, files, owned=None):
    """An image of these files, `inside -> outside`, with the libraries they need. `owned` are folders of user
    65532 and their modes."""
    archive = world.folder / "image.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        known = set()
        for inside, outside in files.items():
            for path, source in [(inside, outside), *libraries(outside)]:
                if path not in known:
                    known.add(path)
                    tar.add(source, path.lstrip("/"), filter=plain)
        folders = [("tmp", 0, 0o1777), ("proc", 0, 0o755), ("sys", 0, 0o755)]
        for folder, owner, mode in folders + [(one, 65532, mode) for one, mode in (owned or {}).items()]:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.uid, entry.gid, entry.mode = tarfile.DIRTYPE, owner, owner, mode
            tar.addfile(entry)
    docker(world, "import", archive, name)
    archive.unlink()


def plain(entry):
    """As root would have it, without what Python compiled and what only Python's own tests need."""
    if "__pycache__" in entry.name or re.search(r"/(test|idlelib|ensurepip|lib2to3|tkinter|config-3[^/]*)(/|$)", entry.name):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def libraries(program):
    """What the dynamic linker would load, from `ldd`."""
    if pathlib.Path(program).is_dir():
        return [pair for one in pathlib.Path(program).rglob("*.so") for pair in libraries(one)]
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return [(path, path) for path in re.findall(r"(/\S+) \(0x", listed)]


def busybox(*applets):
    program = shutil.which("busybox")
    return {f"/bin/{name}": program for name in ("busybox", *applets)}


def python():
    """Python with its standard library, for the probes."""
    folder = run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").stdout.strip()
    return {PYTHON: PYTHON, "/usr/bin/python3": PYTHON, folder: folder}


def stripped(world, program):
    """Without what a debugger needs, which is most of it."""
    small = world.folder / "exeat"
    run("strip", "-o", small, program)
    return small


