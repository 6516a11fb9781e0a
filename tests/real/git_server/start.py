"""`git http-backend` behind nginx, with TLS and Basic authentication, holding one repository, `hello.git` unless it is named.

    python start.py --dir DIR --key FILE --cert FILE --user NAME --password SECRET [--large PORT] [--repository PATH]

DIR must be empty or missing. Prints {"port": N} when ready and ends, with what it started, when its standard input
ends. What nginx saw of each request is in DIR/seen.log, a line of JSON each, with the Authorization header.
With --large, what git-lfs asks for goes to that port of loopback, after the same authentication.
The repository accepts force pushes and deletions: it is the gate that has to refuse them.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
READY_TIMEOUT_SECS = 20


def main():
    parser = argparse.ArgumentParser()
    for name in ("dir", "key", "cert", "user", "password"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--large", type=int)
    parser.add_argument("--repository", default="hello.git")
    options = parser.parse_args()
    folder = pathlib.Path(options.dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "users").write_text(f"{options.user}:{{PLAIN}}{options.password}\n", encoding="utf-8")
    make_repository(folder, options.repository)

    # nginx cannot choose a port and say so; it can be given a socket that listens already.
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    configure(folder, port, options)
    started = [
        subprocess.Popen([program("fcgiwrap"), "-s", f"unix:{folder}/fastcgi.sock"], stdin=subprocess.DEVNULL),
        subprocess.Popen(
            [program("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            pass_fds=[listener.fileno()],
        ),
    ]
    listener.close()
    try:
        wait_for(folder / "fastcgi.sock", started)
        print(json.dumps({"port": port}), flush=True)
        sys.stdin.read()
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def program(name):
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        sys.exit(f"git_server: `{name}` is missing; on Debian: apt-get install nginx-light fcgiwrap git")
    return found


def wait_for(path, started):
    """nginx listens already; the other door opens in its own time."""
    deadline = time.monotonic() + READY_TIMEOUT_SECS
    while not path.exists():
        if time.monotonic() > deadline or any(process.poll() is not None for process in started):
            sys.exit("git_server: a program did not start; see error.log")
        time.sleep(0.02)


def configure(folder, port, options):
    backend = pathlib.Path(git("--exec-path").strip()) / "git-http-backend"
    values = {"DIR": folder, "PORT": port, "KEY": pathlib.Path(options.key).resolve(), "BACKEND": backend}
    values["CERT"] = pathlib.Path(options.cert).resolve()
    # Started by root, its worker would become somebody who cannot read the folder.
    values["USER"] = "user root;" if os.getuid() == 0 else ""
    large = f"location ~ /lfs/ {{ proxy_pass http://127.0.0.1:{options.large}; }}" if options.large else ""
    values["LARGE"] = large
    text = (HERE / "nginx.conf").read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    (folder / "nginx.conf").write_text(text, encoding="utf-8")


def make_repository(folder, name):
    bare = folder / "repositories" / name
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git("-C", str(bare), "config", "receive.denyDeleteCurrent", "ignore")
    seed = folder / "seed"
    git("init", "--quiet", "--initial-branch=main", str(seed))
    (seed / "README").write_text("hello\n", encoding="utf-8")
    git("-C", str(seed), "add", "README")
    author = ["-c", "user.name=seed", "-c", "user.email=seed@example.com", "-c", "commit.gpgsign=false"]
    git("-C", str(seed), *author, "commit", "--quiet", "--message=first")
    git("-C", str(seed), "push", "--quiet", str(bare), "main", "main:old")


def git(*arguments):
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(["git", *arguments], check=True, text=True, stdout=subprocess.PIPE, env=environment).stdout


if __name__ == "__main__":
    main()
