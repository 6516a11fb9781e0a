"""Debian's docker-registry with token authentication, and a simulated token service for it.

    python registry_server.py --dir DIR --key FILE --cert FILE --password SECRET

The registry is registry.example.com, the token service https://auth.example.com/token. Prints {"port": N} of the registry
when ready; DIR/auth-port holds that of the token service. DIR/seen.log has a line for each token that was asked for.
"""

import argparse
import base64
import datetime
import http.server
import json
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

parser = argparse.ArgumentParser()
for word in "dir", "key", "cert", "password":
    parser.add_argument(f"--{word}", required=True)
options = parser.parse_args()
folder = pathlib.Path(options.dir).resolve()
folder.mkdir(parents=True, exist_ok=True)

key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "auth.example.com")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(days=1)).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .sign(key, hashes.SHA256())
)
(folder / "signing.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
CHAIN = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]
GOOD = "Basic " + base64.b64encode(f"puller:{options.password}".encode()).decode()


def token(service, scopes):
    access = []
    for scope in scopes:
        kind, what, actions = scope.split(":")
        access.append({"type": kind, "name": what, "actions": actions.split(",")})
    seconds = int(time.time())
    claims = {
        "iss": "auth.example.com", "sub": "puller", "aud": service, "exp": seconds + 300, "nbf": seconds - 10,
        "iat": seconds, "jti": str(time.time()), "access": access,
    }
    return jwt.encode(claims, key, "ES256", {"typ": "JWT", "x5c": CHAIN})


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        good = self.headers.get("Authorization") == GOOD
        with open(folder / "seen.log", "a", encoding="utf-8") as out:
            print(json.dumps({"scopes": asked.get("scope", []), "good": good}), file=out, flush=True)
        body = {"token": token(asked["service"][0], asked.get("scope", [])), "expires_in": 300} if good else {"details": "who is it?"}
        body = json.dumps(body).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.cert, options.key)
service.socket = context.wrap_socket(service.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=service.serve_forever, daemon=True).start()
(folder / "auth-port").write_text(str(service.server_address[1]), encoding="utf-8")

(folder / "registry.yml").write_text(f"""
version: 0.1
storage: {{ filesystem: {{ rootdirectory: {folder}/registry }} }}
http:
  addr: 127.0.0.1:0
  host: https://registry.example.com
  tls: {{ certificate: {pathlib.Path(options.cert).resolve()}, key: {pathlib.Path(options.key).resolve()} }}
auth:
  token:
    realm: https://auth.example.com/token
    service: registry.example.com
    issuer: auth.example.com
    rootcertbundle: {folder}/signing.pem
""", encoding="utf-8")
program = shutil.which("docker-registry")
if program is None:
    sys.exit("registry_server: `docker-registry` is missing; on Debian: apt-get install docker-registry")
registry = subprocess.Popen(
    [program, "serve", str(folder / "registry.yml")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE, text=True)
try:
    for line in registry.stderr:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", line)
        if found:
            print(json.dumps({"port": int(found.group(1))}), flush=True)
            break
    threading.Thread(target=registry.stderr.read, daemon=True).start()
    sys.stdin.read()
finally:
    registry.terminate()
    registry.wait()
