"""A simulated API over TLS: upstream.py ADDRESS PORT CERT KEY SEEN

Answers with the credential that it saw, and appends each request to the file SEEN as a line of JSON.
"""

import http.server
import json
import ssl
import sys

ADDRESS, PORT, CERT, KEY, SEEN = sys.argv[1:]


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        authorization = self.headers.get("Authorization")
        with open(SEEN, "a", encoding="utf-8") as out:
            print(json.dumps({"path": self.path, "authorization": authorization}), file=out, flush=True)
        body = json.dumps({"items": [1, 2, 3], "you sent": authorization}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET

    def log_message(self, *_words):
        pass


server = http.server.ThreadingHTTPServer((ADDRESS, int(PORT)), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("ready", flush=True)
server.serve_forever()
