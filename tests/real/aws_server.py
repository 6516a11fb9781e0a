"""Moto as AWS: S3, DynamoDB, STS, KMS and more, with its own check of signatures and policies switched on.

    python aws_server.py --id ID --secret SECRET [--key FILE --cert FILE] [--record FILE]

The one user has this access key and may do everything. KMS has a P-256 key `alias/exeat` and an RSA key `alias/exeat-rsa`.
Prints {"port": N} when ready and ends when its standard input ends. With a key and a certificate it speaks TLS. Each request is appended to the record file as a line of JSON.

Moto checks signatures in headers. What it does not look at is checked here, by botocore's own code for presigned requests
and by hand for the signatures of chunks (published by S3 as "Signature calculations for the Authorization header:
transferring payload in multiple chunks"); a request that fails gets 403 and `SignatureDoesNotMatch`.
"""

import argparse
import hashlib
import hmac
import io
import json
import os
import ssl
import sys
import threading
import urllib.parse

os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth  # noqa: E402
from botocore.awsrequest import AWSRequest  # noqa: E402
from botocore.credentials import Credentials  # noqa: E402
from moto.iam.models import iam_backends  # noqa: E402
from moto.kms.models import kms_backends  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server  # noqa: E402
from werkzeug.wsgi import get_input_stream  # noqa: E402

ACCOUNT = "123456789012"
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
EMPTY = hashlib.sha256(b"").hexdigest()


def main():
    parser = argparse.ArgumentParser()
    for name in ("id", "secret", "key", "cert", "record"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    backend = iam_backends[ACCOUNT]["aws"]
    user = backend.create_user("us-east-1", "gate")
    user.put_policy("everything", json.dumps(EVERYTHING))
    key = backend.create_access_key("gate")
    key.access_key_id, key.secret_access_key = options.id, options.secret
    keys = kms_backends[ACCOUNT]["us-east-1"]
    for spec, alias in (("ECC_NIST_P256", "alias/exeat"), ("RSA_2048", "alias/exeat-rsa")):
        made = keys.create_key(None, "SIGN_VERIFY", spec, "", [], False)
        keys.create_alias(made.id, alias)
    context = None
    if options.key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    app = Judge(DomainDispatcherApplication(create_backend_app), options)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()


class Quiet(MotoRequestHandler):
    """Logs nothing."""

    def log(self, *_):
        pass


class Judge:
    """Looks at each request before moto does."""

    def __init__(self, app, options):
        self.app, self.options, self.lock = app, options, threading.Lock()

    def __call__(self, environ, start_response):
        body = get_input_stream(environ).read()
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        payload = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
        checked = "header"
        good = True
        if "X-Amz-Signature" in query:
            checked, good = "query", self.presigned(environ, query)
        elif payload.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
            checked, good = payload, self.chunks(environ, body, payload.endswith("-TRAILER"))
        elif payload.startswith("STREAMING-"):
            checked = payload
        self.record(environ, query, checked, good, body)
        if good:
            return self.app(environ, start_response)
        text = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        start_response("403 Forbidden", [("content-type", "application/xml"), ("content-length", str(len(text)))])
        return [text]

    def record(self, environ, query, checked, good, body):
        if not self.options.record:
            return
        target = environ.get("RAW_URI") or environ["PATH_INFO"]
        shown = environ.get("HTTP_AUTHORIZATION", "") + query.get("X-Amz-Credential", "")
        line = {
            "method": environ["REQUEST_METHOD"],
            "host": environ.get("HTTP_HOST"),
            "target": target,
            "credential": shown,
            "token": environ.get("HTTP_X_AMZ_SECURITY_TOKEN"),
            "checked": checked,
            "good": good,
            "body_bytes": len(body),
        }
        with self.lock, open(self.options.record, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def presigned(self, environ, query):
        """Signs the request again with botocore, for the moment and the headers that it names."""
        signature = query["X-Amz-Signature"]
        _key, _day, region, service, _end = query["X-Amz-Credential"].split("/")
        raw = environ.get("RAW_URI") or environ["REQUEST_URI"]
        path, _, rest = raw.partition("?")
        kept = "&".join(pair for pair in rest.split("&") if not pair.startswith("X-Amz-Signature="))
        names = query["X-Amz-SignedHeaders"].split(";")
        headers = {name: environ.get("HTTP_" + name.upper().replace("-", "_"), "") for name in names}
        if "content-type" in names:
            headers["content-type"] = environ.get("CONTENT_TYPE", "")
        url = f"https://{environ['HTTP_HOST']}{path}?{kept}"
        request = AWSRequest(method=environ["REQUEST_METHOD"], url=url, headers=headers)
        request.context["timestamp"] = query["X-Amz-Date"]
        keys = Credentials(self.options.id, self.options.secret)
        signer = S3SigV4QueryAuth(keys, service, region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        if not hmac.compare_digest(signer.signature(text, request), signature):
            return False
        # Moto knows signatures in headers only.
        kept = "&".join(pair for pair in rest.split("&") if not pair.startswith("X-Amz-"))
        plain = AWSRequest(method=environ["REQUEST_METHOD"], url=f"https://{environ['HTTP_HOST']}{path}?{kept}")
        S3SigV4Auth(keys, service, region).add_auth(plain)
        environ["QUERY_STRING"] = kept
        for name, value in plain.headers.items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        return True

    def chunks(self, environ, body, trailer):
        """Follows the chain of signatures from that of the head to the end of the body."""
        shown = environ["HTTP_AUTHORIZATION"]
        before = shown.partition("Signature=")[2]
        scope = shown.partition("Credential=")[2].partition(",")[0].split("/")[1:]
        key = ("AWS4" + self.options.secret).encode()
        for word in scope:
            key = hmac.digest(key, word.encode(), "sha256")
        stamp = environ["HTTP_X_AMZ_DATE"] + "\n" + "/".join(scope)

        def link(kind, before, *hashes):
            text = "\n".join([kind, stamp, before, *hashes])
            return hmac.new(key, text.encode(), "sha256").hexdigest()

        rest, size = body, None
        while size != 0:
            head, _, rest = rest.partition(b"\r\n")
            digits, _, given = head.decode().partition(";chunk-signature=")
            size = int(digits, 16)
            chunk, rest = rest[:size], rest[size:] if size == 0 else rest[size + 2 :]
            hashed = hashlib.sha256(chunk).hexdigest()
            before = link("AWS4-HMAC-SHA256-PAYLOAD", before, EMPTY, hashed)
            if before != given:
                return False
        if not trailer:
            return rest == b"\r\n"
        fields, _, given = rest.decode().rstrip("\r\n").partition("\r\nx-amz-trailer-signature:")
        hashed = hashlib.sha256((fields + "\n").encode()).hexdigest()
        return link("AWS4-HMAC-SHA256-TRAILER", before, hashed) == given


if __name__ == "__main__":
    main()
