"""What an agent does with git, unmodified: each step named on the command line is tried in a clone of its own.

    python git_client.py --url URL --dir DIR clone push-branch push-main force-branch delete-branch push-tag push-large

Prints the outcome of each step as a line of JSON: exit status and what git said. URL holds the user name and the
placeholder, as `https://agent:placeholder@host/hello.git` does. Each step but `clone` starts from the clone.
"""

import argparse
import json
import os
import pathlib
import subprocess


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("steps", nargs="+", choices=sorted(STEPS))
    options = parser.parse_args()
    work = pathlib.Path(options.dir) / "clone"
    for step in options.steps:
        done = STEPS[step](work, options.url)
        print(json.dumps({"step": step, "status": done.returncode, "said": done.stdout + done.stderr}), flush=True)


def git(work, *arguments):
    author = ["-c", "user.name=agent", "-c", "user.email=agent@example.com", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    environment["GIT_CONFIG_GLOBAL"] = os.devnull
    command = ["git", *author, "-C", str(work), *arguments]
    return subprocess.run(command, text=True, capture_output=True, env=environment, check=False)


def clone(work, url):
    work.parent.mkdir(parents=True, exist_ok=True)
    return git(work.parent, "clone", "--quiet", url, work.name)


def commit(work, branch, text, start="origin/main"):
    """A commit on a new local branch."""
    git(work, "checkout", "--quiet", "-B", branch, start)
    (work / "README").write_text(text, encoding="utf-8")
    git(work, "commit", "--quiet", "--all", f"--message={text[:40]}")


def push_branch(work, _url):
    commit(work, "topic", "one\n")
    return git(work, "push", "--quiet", "origin", "topic")


def push_main(work, _url):
    commit(work, "main", "two\n")
    return git(work, "push", "--quiet", "origin", "main")


def force_branch(work, _url):
    """Replaces the branch `topic` by a commit that does not have its present one as an ancestor."""
    commit(work, "topic", "three\n")
    return git(work, "push", "--quiet", "--force", "origin", "topic")


def delete_branch(work, _url):
    return git(work, "push", "--quiet", "origin", "--delete", "old")


def push_tag(work, _url):
    git(work, "tag", "--force", "v1", "origin/main")
    return git(work, "push", "--quiet", "origin", "v1")


def push_large(work, _url):
    """More than `http.postBuffer` holds, so that git sends it in chunks after a probe."""
    git(work, "checkout", "--quiet", "-B", "large", "origin/main")
    (work / "noise").write_bytes(os.urandom(3 * 1024 * 1024))
    git(work, "add", "noise")
    git(work, "commit", "--quiet", "--message=large")
    return git(work, "push", "--quiet", "origin", "large")


STEPS = {
    "clone": clone,
    "push-branch": push_branch,
    "push-main": push_main,
    "force-branch": force_branch,
    "delete-branch": delete_branch,
    "push-tag": push_tag,
    "push-large": push_large,
}

if __name__ == "__main__":
    main()
