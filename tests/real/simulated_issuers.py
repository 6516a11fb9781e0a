"""Simulated issuers of tokens and credentials, and the APIs that take them, checked by libraries that are not ours.

    python simulated_issuers.py --dir DIR --key FILE --cert FILE

What Google's token endpoint, GitHub's API for Apps and an issuer of verifiable credentials do, as far as their documents
say it; the JWTs that reach it are verified by joserfc and PyJWT, HTTP signatures by http-message-signatures. Before it
listens it writes into DIR the keys it knows: google.json, github.pem, bot.pem, holder.pem, licence.txt, issuer.jwk.
Prints {"port": N}, ends with its standard input. DIR/seen.log has a line for each request; a file DIR/revoked makes the
list of statuses say so.
"""

import argparse
import base64
import hashlib
import http.server
import json
import pathlib
import ssl
import sys
import threading
import time
import urllib.parse
import zlib

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from joserfc import jws
from joserfc import jwt as jose_jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

GOOGLE = "https://google.example.com/token"
ISSUER = "https://issuer.example.com"
EMAIL = "robot@project.iam.gserviceaccount.com"
SHARED = b"CANARY-shared-signing-key"

parser = argparse.ArgumentParser()
for word in "dir", "key", "cert":
    parser.add_argument(f"--{word}", required=True)
options = parser.parse_args()
folder = pathlib.Path(options.dir)
folder.mkdir(parents=True, exist_ok=True)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def pem(key, form=serialization.PrivateFormat.PKCS8):
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


google, github = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
bot, holder, issuer = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
bot_jwk, holder_jwk, issuer_jwk = OKPKey.import_key(pem(bot)), ECKey.import_key(pem(holder)), ECKey.import_key(pem(issuer))

(folder / "google.json").write_text(json.dumps({
    "type": "service_account", "client_email": EMAIL, "private_key_id": "key-1", "private_key": pem(google),
    "token_uri": GOOGLE, "project_id": "project",
}), encoding="utf-8")
(folder / "github.pem").write_text(pem(github, serialization.PrivateFormat.TraditionalOpenSSL), encoding="utf-8")
(folder / "bot.pem").write_text(pem(bot), encoding="utf-8")
(folder / "holder.pem").write_text(pem(holder), encoding="utf-8")
(folder / "issuer.jwk").write_text(json.dumps(issuer_jwk.as_dict(private=False)), encoding="utf-8")


def licence():
    """An SD-JWT with two claims that may be shown, bound to the key of the holder, at place 5 of a list."""
    shown = [encode(json.dumps([encode(name.encode()), name, value]).encode()) for name, value in (("role", "buyer"), ("name", "CANARY-holder-name"))]
    claims = {
        "iss": ISSUER, "vct": "licence", "iat": int(time.time()), "exp": int(time.time()) + 3600, "_sd_alg": "sha-256",
        "_sd": [encode(hashlib.sha256(one.encode()).digest()) for one in shown],
        "cnf": {"jwk": holder_jwk.as_dict(private=False)},
        "status": {"status_list": {"uri": f"{ISSUER}/list", "idx": 5}},
    }
    return jose_jwt.encode({"alg": "ES256", "typ": "dc+sd-jwt"}, claims, issuer_jwk) + "".join(f"~{one}" for one in shown) + "~"


(folder / "licence.txt").write_text(licence(), encoding="utf-8")


class Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):
        return SHARED if key_id == "shared" else bot.public_key() if key_id == bot_jwk.thumbprint() else None


class Refused(Exception):
    pass


def must(what, why):
    if not what:
        raise Refused(why)


def google_token(request):
    fields = dict(urllib.parse.parse_qsl(request.body.decode()))
    must(fields.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer", "another grant")
    claims = jwt.decode(fields["assertion"], google.public_key(), ["RS256"], audience=GOOGLE, issuer=EMAIL)
    must(jwt.get_unverified_header(fields["assertion"])["kid"] == "key-1", "another key")
    must(claims["exp"] - claims["iat"] <= 3600, "it lives too long")
    if "target_audience" in claims:
        return {"id_token": "CANARY-google-id-" + encode(claims["target_audience"].encode())}
    must(claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_only", "another scope")
    return {"access_token": "CANARY-google-access-token", "expires_in": 3599, "token_type": "Bearer"}


def storage(request):
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if request.path.startswith("/self"):
        claims = jwt.decode(presented, google.public_key(), ["RS256"], audience="https://storage.example.com/", issuer=EMAIL)
        return {"self-signed": claims["sub"]}
    must(presented == "CANARY-google-access-token", "another token")
    return {"buckets": []}


installed = {}


def github_api(request):
    presented = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if request.path == "/app/installations/7/access_tokens":
        decoded = jose_jwt.decode(presented, RSAKey.import_key(pem(github)), algorithms=["RS256"])
        claims, now = decoded.claims, time.time()
        must(claims["iss"] == "Iv23app" and claims["iat"] < now < claims["exp"] <= now + 600, "not an App's")
        must(request.headers.get("User-Agent"), "GitHub wants a user agent")
        asked = json.loads(request.body)
        token = f"ghs_CANARYinstallation{len(installed)}"
        installed[token] = asked
        names = [{"full_name": f"acme/{name}"} for name in asked.get("repositories", [])]
        return 201, {
            "token": token, "expires_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
            "permissions": {**asked["permissions"], "metadata": "read"}, "repositories": names, "repository_selection": "selected",
        }
    granted = installed.get(presented)
    must(granted, "no token of an installation")
    return {"granted": granted}


def signed(request):
    """Verifies with a library of others; says what was covered."""
    url = f"https://signed.example.com{request.path}"
    seen = type("Seen", (), {"method": request.command, "url": url, "headers": dict(request.headers.items())})
    shared = 'keyid="shared"' in request.headers.get("Signature-Input", "")
    verifier = HTTPMessageVerifier(
        signature_algorithm=algorithms.HMAC_SHA256 if shared else algorithms.ED25519, key_resolver=Keys())
    result = verifier.verify(seen)[0]
    if request.body:
        digest = "sha-256=:" + base64.b64encode(hashlib.sha256(request.body).digest()).decode() + ":"
        must(request.headers.get("Content-Digest") == digest, "another body")
    return {"covered": sorted(one for one in map(str, result.covered_components) if "@signature-params" not in one), "params": {name: str(value) for name, value in result.parameters.items()}}


def issuer_api(request):
    must(request.path == "/list", "nothing else is here")
    statuses = bytearray(16)
    if (folder / "revoked").exists():
        statuses[0] |= 1 << 5
    claims = {
        "sub": f"{ISSUER}/list", "iat": int(time.time()), "ttl": 1,
        "status_list": {"bits": 1, "lst": encode(zlib.compress(bytes(statuses)))},
    }
    return jose_jwt.encode({"alg": "ES256", "typ": "statuslist+jwt"}, claims, issuer_jwk)


def shop(request):
    """Verifies the SD-JWT and its proof, and says which claims were shown."""
    presented = request.headers.get("X-Licence", "")
    body, proof = presented.rsplit("~", 1)
    first, *disclosures = body.split("~")
    claims = jose_jwt.decode(first, issuer_jwk, algorithms=["ES256"]).claims
    proven = jws.deserialize_compact(proof, ECKey.import_key(claims["cnf"]["jwk"]), algorithms=["ES256"])
    stated = json.loads(proven.payload)
    must(proven.headers()["typ"] == "kb+jwt", "no proof")
    must(stated["aud"] == "https://shop.example.com", "a proof for somebody else")
    must(stated["sd_hash"] == encode(hashlib.sha256(f"{body}~".encode()).digest()), "a proof of something else")
    must(abs(stated["iat"] - time.time()) < 60, "an old proof")
    shown = [json.loads(base64.urlsafe_b64decode(one + "==")) for one in disclosures]
    return {"shown": {name: value for _salt, name, value in shown}, "nonce": stated["nonce"]}


PLACES = {
    "google.example.com": google_token, "storage.example.com": storage, "github.example.com": github_api,
    "signed.example.com": signed, "issuer.example.com": issuer_api, "shop.example.com": shop,
}


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.headers["Host"].split(":")[0]
        with open(folder / "seen.log", "a", encoding="utf-8") as out:
            print(json.dumps({"host": host, "path": self.path, "headers": dict(self.headers.items())}), file=out, flush=True)
        try:
            found = PLACES[host](self)
            status, value = found if isinstance(found, tuple) else (200, found)
        except Exception as problem:  # whatever is wrong with a request is said, and fails the test
            status, value = 401, {"refused": f"{type(problem).__name__}: {problem}"}
        text = value if isinstance(value, str) else json.dumps(value)
        self.send_response(status)
        self.send_header("Content-Type", "application/statuslist+jwt" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_words):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(options.cert, options.key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"port": server.server_address[1]}), flush=True)
sys.stdin.read()
