"""A WebSocket server of the `websockets` package that sends back what it gets; compression is negotiated, as by default.

    python websocket_server.py --key FILE --cert FILE --record FILE

Prints {"port": N} when ready and ends when its standard input ends. The text `close` makes it close with code 4321.
"""

import argparse
import asyncio
import json
import ssl
import sys

import websockets


async def main():
    parser = argparse.ArgumentParser()
    for name in ("key", "cert", "record"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()

    async def talk(socket):
        with open(options.record, "a", encoding="utf-8") as record:
            line = {"authorization": socket.request.headers.get("Authorization")}
            line["extensions"] = [extension.name for extension in socket.protocol.extensions]
            record.write(json.dumps(line) + "\n")
        async for message in socket:
            if message == "close":
                await socket.close(4321, "as asked")
            else:
                await socket.send(f"echo: {message}" if isinstance(message, str) else message)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.cert, options.key)
    async with websockets.serve(talk, "127.0.0.1", 0, ssl=tls, max_size=None) as server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
