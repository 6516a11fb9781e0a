"""An agent that pushes an image of one layer to https://registry.example.com and pulls it again, without any login.

Prints a line of JSON for each step: {"step", "status"}.
"""

import hashlib
import json
import ssl
import urllib.error
import urllib.request

BASE = "https://registry.example.com"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def ask(step, method, url, body=None, media="application/octet-stream"):
    request = urllib.request.Request(url, method=method, data=body, headers={"Content-Type": media} if body is not None else {})
    request.add_header("Accept", f"{MANIFEST}, */*")
    try:
        with urllib.request.urlopen(request, timeout=30, context=ssl.create_default_context()) as answer:
            status, headers, read = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as problem:
        status, headers, read = problem.code, problem.headers, problem.read()
    print(json.dumps({"step": step, "status": status, "body": read.decode(errors="replace")[:300]}), flush=True)
    return headers, read


def upload(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    headers, _ = ask("begin", "POST", f"{BASE}/v2/team/app/blobs/uploads/", b"")
    ask("upload", "PUT", f"{headers['Location']}&digest={digest.replace(':', '%3A')}", data)
    return {"digest": digest, "size": len(data)}


ask("ping", "GET", f"{BASE}/v2/")
layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", **upload(b"a layer")}
config = {"mediaType": "application/vnd.oci.image.config.v1+json", **upload(b'{"architecture":"amd64","os":"linux"}')}
manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
ask("push", "PUT", f"{BASE}/v2/team/app/manifests/1", json.dumps(manifest).encode(), MANIFEST)
ask("pull", "GET", f"{BASE}/v2/team/app/manifests/1")
_, read = ask("layer", "GET", f"{BASE}/v2/team/app/blobs/{layer['digest']}")
print(json.dumps({"step": "same", "status": 200 if read == b"a layer" else 0}), flush=True)
