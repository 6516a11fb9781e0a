"""An agent that makes the calls it is told to: calls.py [METHOD URL [BODY]]..., each set off by `--`.

    python calls.py GET https://api.example.com/a -- POST https://api.example.com/b '{"x": 1}'

Prints one line of JSON for each: {"url", "status", "body", "authorization": what it held itself}.
"""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request


def call(method, url, body=None):
    request = urllib.request.Request(url, method=method, data=body and body.encode())
    if body:
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30, context=ssl.create_default_context()) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read().decode()


words, calls = sys.argv[1:], [[]]
for word in words:
    if word == "--":
        calls.append([])
    else:
        calls[-1].append(word)
held = sorted(value for name, value in os.environ.items() if name.endswith("_TOKEN"))
for one in calls:
    status, body = call(*one)
    print(json.dumps({"url": one[1], "status": status, "body": body, "held": held}), flush=True)
