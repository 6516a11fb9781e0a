"""A program that uses the `websockets` package as its documentation shows it; compression is offered, as by default.

Sends text, random bytes (more than one frame's worth of buffers) and a ping, asks the server to close with a code, and
prints what came back as a line of JSON.
"""

import asyncio
import json
import os

import websockets


async def main():
    headers = {"Authorization": f"Bearer {os.environ['FRONT_TOKEN']}"}
    noise = os.urandom(1_000_000)
    async with websockets.connect(
        "wss://front.example.com/talk", additional_headers=headers, max_size=None, open_timeout=60
    ) as socket:
        await socket.send("hello")
        text = await socket.recv()
        await socket.send(noise)
        same = await socket.recv() == noise
        pong = await (await socket.ping()) >= 0
        extensions = [extension.name for extension in socket.protocol.extensions]
        await socket.send("close")
        await socket.wait_closed()
        closed = [socket.close_code, socket.close_reason]
    print(json.dumps({"text": text, "same": same, "pong": pong, "extensions": extensions, "closed": closed}))


asyncio.run(main())
