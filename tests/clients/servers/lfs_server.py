"""A simulated Git LFS server: the batch API with the transfer `basic`, and objects in memory. Without TLS, behind nginx.

    python lfs_server.py --key FILE --cert FILE --record FILE

Prints {"port": N} when ready and ends when its standard input ends.
"""

import argparse
import http.server
import json
import sys
import threading

HREF = "https://git.example.com/hello.git/lfs/"
OBJECTS = {}


class Answers(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        asked = json.loads(self.body())
        if self.path.endswith("/locks/verify"):
            self.answer(404, json.dumps({"message": "no locks here"}).encode())
            return
        objects = [self.action(asked["operation"], one) for one in asked["objects"]]
        self.answer(200, json.dumps({"transfer": "basic", "objects": objects}).encode())

    def action(self, operation, one):
        have = one["oid"] in OBJECTS
        found = {"oid": one["oid"], "size": one["size"]}
        if operation == "download" and not have:
            return found | {"error": {"code": 404, "message": "no such object"}}
        if operation == "upload" and have:
            return found
        return found | {"actions": {operation: {"href": HREF + one["oid"]}}}

    def do_PUT(self):
        OBJECTS[self.path.rsplit("/", 1)[1]] = self.body()
        self.answer(200, b"")

    def do_GET(self):
        found = OBJECTS.get(self.path.rsplit("/", 1)[1])
        self.answer(404 if found is None else 200, found or b"", "application/octet-stream")

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def answer(self, status, body, kind="application/vnd.git-lfs+json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    parser = argparse.ArgumentParser()
    for name in ("key", "cert", "record"):
        parser.add_argument(f"--{name}", required=True)
    parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
