"""A simulated token service for Docker's registry: token_server.py ADDRESS PORT CERT KEY SIGNING_KEY SIGNING_CERT SEEN

Gives a token to whoever shows the one password, which is read from standard input, and to nobody else. The token is a JWT
that the real registry checks. Requests are appended to the file SEEN, without what they carried.
"""

import base64
import http.server
import json
import ssl
import subprocess
import sys
import time
import urllib.parse

ADDRESS, PORT, CERT, KEY, SIGNING_KEY, SIGNING_CERT, SEEN = sys.argv[1:]
GOOD = "Basic " + base64.b64encode(sys.stdin.read().strip().encode()).decode()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(service, scope):
    kind, name, actions = scope.split(":")
    chain = [line for line in open(SIGNING_CERT, encoding="ascii").read().splitlines() if not line.startswith("-")]
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(chain)]}
    claims = {
        "iss": "auth.test", "sub": "puller", "aud": service, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now),
        "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
    }
    signed = b".".join(encode(json.dumps(part).encode()) for part in (head, claims))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", SIGNING_KEY], input=signed, capture_output=True, check=True).stdout
    return (signed + b"." + encode(signature)).decode()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        good = self.headers.get("Authorization") == GOOD
        with open(SEEN, "a", encoding="utf-8") as out:
            print(json.dumps({"scope": asked.get("scope"), "good": good}), file=out, flush=True)
        body = json.dumps({"token": token(asked["service"], asked["scope"])} if good else {"details": "who is it?"}).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        pass


server = http.server.ThreadingHTTPServer((ADDRESS, int(PORT)), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", flush=True)
server.serve_forever()
