"""A program that uses an HTTP client of Python as its documentation shows it.

    python http_clients.py requests|urllib|httpx|httpx2|aiohttp|aiohttp-direct|events

Sends the file `body` to a server that sends it back, and prints as a line of JSON whether it came back the same.
`events` reads a stream, asks for the rest of it when its first event is there, and prints all events.
"""

import asyncio
import json
import os
import pathlib
import sys
import urllib.request

URL = "https://front.example.com"
HEADERS = {"Authorization": f"Bearer {os.environ['FRONT_TOKEN']}"}


def use_requests(body):
    import requests

    response = requests.post(f"{URL}/echo", data=body, headers=HEADERS, timeout=60)
    return response.status_code, response.content, None


def use_urllib(body):
    request = urllib.request.Request(f"{URL}/echo", data=body, headers=HEADERS)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.status, response.read(), None


def use_httpx(body):
    import httpx

    response = httpx.post(f"{URL}/echo", content=body, headers=HEADERS)
    return response.status_code, response.content, response.http_version


def use_httpx_second(body):
    import httpx

    with httpx.Client(http1=False, http2=True) as client:
        response = client.post(f"{URL}/echo", content=body, headers=HEADERS)
    return response.status_code, response.content, response.http_version


def use_aiohttp(body, trust_env=True):
    import aiohttp

    async def ask():
        async with aiohttp.ClientSession(trust_env=trust_env, headers=HEADERS) as session:
            async with session.post(f"{URL}/echo", data=body) as response:
                return response.status, await response.read(), None

    return asyncio.run(ask())


def use_events():
    import httpx

    with httpx.Client(headers=HEADERS, timeout=60) as client, client.stream("GET", f"{URL}/events") as response:
        events = []
        for line in response.iter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
                if len(events) == 1:
                    httpx.get(f"{URL}/go", headers=HEADERS).raise_for_status()
    return {"events": events}


CLIENTS = {
    "requests": use_requests,
    "urllib": use_urllib,
    "httpx": use_httpx,
    "httpx2": use_httpx_second,
    "aiohttp": use_aiohttp,
    "aiohttp-direct": lambda body: use_aiohttp(body, trust_env=False),
}


def main():
    step = sys.argv[1]
    if step == "events":
        print(json.dumps(use_events()))
        return
    sent = pathlib.Path("body").read_bytes()
    status, came, version = CLIENTS[step](sent)
    print(json.dumps({"status": status, "same": came == sent, "bytes": len(came), "version": version}))


if __name__ == "__main__":
    main()
