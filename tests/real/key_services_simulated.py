"""Simulated services that cannot run here: Google Cloud KMS, HashiCorp Vault (AppRole, Transit, KV version 2), and the
machine of an operator that signs for the gate over mutual TLS (the kind `remote`).

    python key_services_simulated.py --account PEM --token TOKEN --role ROLE --secret-id ID --value VALUE
                                     [--key FILE --cert FILE [--client-ca FILE]] [--record FILE]

They speak as their public documentation says, as far as the gate asks them, and check what they are shown: the JWT of the
service account with this public key, the Vault token or AppRole, the client certificate. Keys are made at the start and
are called `eddsa`, `es256` and `rs256`; `loose` in Transit may be exported. KV holds VALUE at `secret/team/api`, field
`token`. Prints {"port": N} when ready and ends when its standard input ends.

For tests: `POST /test/rotate` replaces every key, `POST /test/expire` ends every token of an AppRole.
"""

import argparse
import base64
import hashlib
import http.server
import json
import ssl
import sys
import threading

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

OPTIONS = None
KEYS = {}
TOKENS = set()
LOCK = threading.Lock()


def make_keys():
    KEYS["eddsa"] = ed25519.Ed25519PrivateKey.generate()
    KEYS["es256"] = ec.generate_private_key(ec.SECP256R1())
    KEYS["rs256"] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    KEYS["loose"] = KEYS["es256"]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser()
    for name in ("account", "token", "role", "secret-id", "value", "key", "cert", "client-ca", "record"):
        parser.add_argument(f"--{name}")
    OPTIONS = parser.parse_args()
    make_keys()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Services)
    server.daemon_threads = True
    if OPTIONS.key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS.cert, OPTIONS.key)
        if OPTIONS.client_ca:
            context.load_verify_locations(OPTIONS.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()


def b64(data):
    return base64.b64encode(data).decode()


def spki(key, form):
    return key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign_hash(key, digest):
    prehashed = utils.Prehashed(hashes.SHA256())
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, padding.PKCS1v15(), prehashed)
    return key.sign(digest, ec.ECDSA(prehashed))


def sign(key, message):
    """A signature as most services write it: ECDSA in DER."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return sign_hash(key, hashlib.sha256(message).digest())


def jose(key, signature):
    """The same as RFC 7518 writes it."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return signature
    r, s = utils.decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Refused(Exception):
    """Ends a request with this status."""


class Services(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def serve(self):
        length = int(self.headers.get("content-length") or 0)
        text = self.rfile.read(length)
        try:
            status, answer = 200, self.answer(json.loads(text) if text else {})
        except Refused as refused:
            status, answer = refused.args[0], {"errors": ["CANARY-text-of-a-server"]}
        if OPTIONS.record:
            line = {"method": self.command, "target": self.path, "status": status}
            with LOCK, open(OPTIONS.record, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer(self, asked):
        path = self.path.strip("/").split("/")
        if path == ["test", "rotate"]:
            make_keys()
            return {}
        if path == ["test", "expire"]:
            TOKENS.clear()
            return {}
        if path[0] == "keys":
            return self.remote(path[1:], asked)
        if path[:2] == ["v1", "projects"]:
            return self.gcp(path[1:], asked)
        return self.vault(path[1:], asked)

    def remote(self, path, asked):
        key = self.key(path[0])
        if path[1:] == ["sign"]:
            message = base64.b64decode(asked["message"])
            return {"signature": b64(jose(key, sign(key, message)))}
        return {"public_key": b64(spki(key, serialization.Encoding.DER))}

    def key(self, name):
        if name not in KEYS:
            raise Refused(404)
        return KEYS[name]

    def gcp(self, path, asked):
        shown = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        scheme = "https" if OPTIONS.key else "http"
        audience = f"{scheme}://{self.headers['host']}/"
        with open(OPTIONS.account, encoding="utf-8") as file:
            account = file.read()
        checks = {"verify_iat": False, "verify_exp": False, "require": ["exp", "iat", "iss"]}
        try:
            claims = jwt.decode(shown, account, algorithms=["RS256"], audience=audience, options=checks)
        except jwt.PyJWTError:
            raise Refused(401) from None
        if claims["iss"] != claims["sub"] or claims["exp"] - claims["iat"] > 3600:
            raise Refused(401)
        key = self.key(path[7])
        version, _, verb = path[9].partition(":")
        name = "/".join([*path[:9], version])
        if path[10:] == ["publicKey"]:
            pem = spki(key, serialization.Encoding.PEM).decode()
            return {"pem": pem, "name": name, "algorithm": path[7]}
        if verb != "asymmetricSign":
            raise Refused(404)
        if "data" in asked:
            signature = sign(key, base64.b64decode(asked["data"]))
        else:
            signature = sign_hash(key, base64.b64decode(asked["digest"]["sha256"]))
        return {"signature": b64(signature), "name": name}

    def vault(self, path, asked):
        if path == ["auth", "approle", "login"]:
            if asked != {"role_id": OPTIONS.role, "secret_id": OPTIONS.secret_id}:
                raise Refused(400)
            token = f"hvs.{len(TOKENS)}-CANARY-leased-{id(asked)}"
            TOKENS.add(token)
            return {"auth": {"client_token": token, "lease_duration": 3600, "renewable": True}}
        shown = self.headers.get("x-vault-token")
        if shown != OPTIONS.token and shown not in TOKENS:
            raise Refused(403)
        if path == ["secret", "data", "team", "api"]:
            data = {"token": OPTIONS.value, "port": 443}
            metadata = {"version": 3, "destroyed": False, "deletion_time": ""}
            return {"data": {"data": data, "metadata": metadata}}
        if path[:2] == ["transit", "keys"]:
            return {"data": self.transit_key(path[2])}
        if path[:2] == ["transit", "sign"]:
            key = self.key(path[2])
            signature = sign(key, base64.b64decode(asked["input"]))
            if asked.get("marshaling_algorithm") == "jws":
                signature = jose(key, signature)
                text = base64.urlsafe_b64encode(signature).decode().rstrip("=")
            else:
                text = b64(signature)
            return {"data": {"signature": f"vault:v{asked['key_version']}:{text}"}}
        raise Refused(404)

    def transit_key(self, name):
        key = self.key(name)
        kinds = {"eddsa": "ed25519", "rs256": "rsa-2048"}
        public = spki(key, serialization.Encoding.PEM).decode()
        if name == "eddsa":
            raw = serialization.Encoding.Raw
            public = b64(key.public_key().public_bytes(raw, serialization.PublicFormat.Raw))
        return {
            "type": kinds.get(name, "ecdsa-p256"),
            "latest_version": 2,
            "exportable": name == "loose",
            "allow_plaintext_backup": False,
            "keys": {"2": {"public_key": public}},
        }


if __name__ == "__main__":
    main()
