"""The cases, one file for each family of clients. A case is a row of docs/CLIENTS.md and a function that checks it."""

import dataclasses
import re
import subprocess
import typing

ALL = []


@dataclasses.dataclass(frozen=True)
class Case:
    """A client, what is done with it, and whether that works. `run` takes a site and fails when it is otherwise."""

    client: str
    shows: str
    run: typing.Callable
    asks: tuple
    works: str = "yes"
    long: bool = False
    alone: bool = False

    def version(self, world):
        """The first number with a dot that the client says of itself."""
        first, *rest = [word.replace("{modules}", str(world.modules)) for word in self.asks]
        command = [world.found(first) if "{" in first or "*" in first else first, *rest]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return re.search(r"\d+(\.\d+)+", done.stdout + done.stderr).group()


def case(client, shows, asks, **more):
    """Declares a case. `asks` is the command that prints the client's version."""

    def declare(function):
        ALL.append(Case(client, shows, function, tuple(asks.split()) if isinstance(asks, str) else asks, **more))
        return function

    return declare
