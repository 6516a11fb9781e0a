#!/usr/bin/env python3
"""What runs inside the sandbox of the soak: workers that make calls of every kind until the time is over. Standard library.

Prints one line of JSON: how many calls were made, how many were refused as they should be, and what went wrong.
"""

import http.client
import json
import os
import ssl
import sys
import threading
import time
import urllib.parse

HOST = "web.example.com"
LARGE_BYTES = 2 << 20
PROBLEMS_MAX = 20


class Tally:
    """What the workers did."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls, self.refused, self.problems = 0, 0, []

    def add(self, status, wanted):
        with self.lock:
            self.calls += status != 403
            self.refused += status == 403
            if status != wanted and len(self.problems) < PROBLEMS_MAX:
                self.problems.append(f"expected {wanted}, got {status}")

    def wrong(self, problem):
        with self.lock:
            if len(self.problems) < PROBLEMS_MAX:
                self.problems.append(problem)


def connect():
    proxy = urllib.parse.urlsplit(os.environ["HTTPS_PROXY"])
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=context, timeout=60)
    connection.set_tunnel(HOST, 443)
    return connection


def ask(connection, method, path, wanted, tally):
    connection.request(method, path, headers={"Host": HOST})
    answer = connection.getresponse()
    length = len(answer.read())
    tally.add(answer.status, wanted)
    if path == "/large.bin" and answer.status == 200 and length != LARGE_BYTES:
        tally.wrong(f"{length} bytes of {LARGE_BYTES}")
    return answer


def work(number, until, tally):
    """Some keep their connection for long, some open one for every few calls."""
    calls_each = 200 if number % 2 else 5
    try:
        while time.monotonic() < until:
            connection = connect()
            for turn in range(calls_each):
                if time.monotonic() >= until:
                    break
                match turn % 8:
                    case 5:
                        answer = ask(connection, "DELETE", "/page.html", 403, tally)
                    case 7:
                        answer = ask(connection, "GET", "/large.bin", 200, tally)
                    case _:
                        answer = ask(connection, "GET", "/page.html", 200, tally)
                if answer.will_close:
                    break
            connection.close()
    except Exception as problem:  # noqa: BLE001 whatever breaks a client is what the soak looks for
        tally.wrong(f"{type(problem).__name__}: {problem}")


def main():
    seconds, workers = float(sys.argv[1]), int(sys.argv[2])
    until, tally = time.monotonic() + seconds, Tally()
    threads = [threading.Thread(target=work, args=(number, until, tally)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"calls": tally.calls, "refused": tally.refused, "problems": tally.problems}))


if __name__ == "__main__":
    main()
