#!/usr/bin/env python3
"""Verifies an export of Exeat's receipts offline. Shares no code with Exeat; the format is docs/RECEIPTS.md.

    verify.py EXPORT --key KEY [--anchor CHECKPOINT] [--json]

KEY is the public key of the ledger (`name+hash+base64`) or a file that holds it. Take it from where you trust it, not
from the export. CHECKPOINT is a file with a checkpoint that was kept elsewhere (the anchor).

Exit status: 0 everything is true and the anchor proves the tail; 1 something is wrong; 2 usage;
3 everything is true, but without an anchor nobody can know whether later records were cut off.

Needs Python 3.11 and the package `cryptography`.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import sys

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    print("verify.py needs the package `cryptography` (pip install cryptography)", file=sys.stderr)
    sys.exit(2)

EXPORT_VERSION = 1
RECORD_VERSION = 1
KINDS = {
    "call-intent", "call-outcome", "call-refused", "connection", "approval", "enrolment", "alarm", "policy-change",
    "credential-change", "token-change", "budget-change", "self-test", "sweep", "upgrade", "grant", "agent-change",
    "checkpoint",
}
ENVELOPE = {"body", "kind", "prev", "seq", "time", "v"}
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
CALL = re.compile(r"[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}")
DASH = "\u2014 "


class Wrong(Exception):
    """Something in the export is not true."""


def need(condition, problem):
    if not condition:
        raise Wrong(problem)


def decode64(text, what):
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(f"{what}: expected base64") from None
    need(base64.b64encode(raw).decode() == text, f"{what}: not the canonical base64")
    return raw


class Key:
    """An Ed25519 key and the name it signs notes under (C2SP signed-note)."""

    def __init__(self, text):
        parts = text.strip().split("+", 2)
        need(len(parts) == 3, "the key: expected `name+hash+base64`")
        self.name, hash_hex, blob = parts
        raw = decode64(blob, "the key")
        need(len(raw) == 33 and raw[0] == 1, "the key: expected an Ed25519 key")
        self.hash = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        need(self.hash.hex() == hash_hex, "the key: the hash does not belong to it")
        self.text = text.strip()
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])


def open_note(note, key):
    """Checks a signed note; gives origin, size, root and time."""
    text, blank, signatures = note.rpartition("\n\n")
    need(blank and signatures.endswith("\n"), "the checkpoint is not a signed note")
    signed_text = text + "\n"
    lines = text.split("\n")
    need(len(lines) == 4, "the checkpoint does not have four lines")
    origin, size, root, time = lines
    need(re.fullmatch(r"0|[1-9][0-9]*", size) is not None, "the checkpoint has no size")
    root = decode64(root, "the checkpoint's root")
    need(len(root) == 32, "the checkpoint's root is not 32 bytes")
    signed = False
    for line in signatures[:-1].split("\n"):
        need(line.startswith(DASH), "the checkpoint has a line that is no signature")
        name, space, blob = line[len(DASH):].partition(" ")
        need(space, "the checkpoint has a line that is no signature")
        raw = decode64(blob, "the checkpoint's signature")
        if name != key.name or raw[:4] != key.hash:
            continue
        try:
            key.public.verify(raw[4:], signed_text.encode())
        except InvalidSignature:
            raise Wrong("the checkpoint's signature is wrong") from None
        signed = True
    need(signed, "the checkpoint is not signed by this key")
    need(origin == key.name, "the checkpoint is of another log")
    return origin, int(size), root, time


class Tree:
    """RFC 6962: the roots of the complete subtrees, largest first."""

    def __init__(self):
        self.size = 0
        self.peaks = []

    def append(self, leaf):
        rest, node = self.size, leaf
        while rest & 1:
            node = hashlib.sha256(b"\x01" + self.peaks.pop() + node).digest()
            rest >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        root = self.peaks[-1]
        for left in reversed(self.peaks[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root


def unique(pairs):
    names = [name for name, _ in pairs]
    need(len(names) == len(set(names)), "a name stands twice")
    return dict(pairs)


def no_floats(text):
    raise Wrong(f"`{text}` is not an integer")


def canonical(value):
    """RFC 8785 for what records hold: no floats, names sorted by UTF-16 code units."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    need(isinstance(value, int) and abs(value) < 2**53, "a number that canonical JSON cannot carry")
    return str(value)


def parse(line):
    """A line as JSON, if it is the one way to write it."""
    try:
        text = line.decode("utf-8")
        value = json.loads(text, object_pairs_hook=unique, parse_float=no_floats, parse_constant=no_floats)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise Wrong("not JSON") from None
    need(canonical(value) == text, "not canonical JSON")
    need(isinstance(value, dict), "not a record")
    return value


def decode64url(text, what, most):
    """Base64url without padding, in its one form."""
    need(isinstance(text, str) and len(text) <= most * 4 // 3 + 3, f"{what}: expected base64url")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(f"{what}: expected base64url") from None
    need(encode64url(raw) == text, f"{what}: not the canonical base64url")
    return raw


def encode64url(raw):
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def cbor(data, at, depth=0):
    """One item of CBOR (RFC 8949), as far as COSE keys and extensions need it; gives it and where it ends."""
    need(at < len(data) and depth < 8, "not CBOR")
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if short < 24:
        value = short
    else:
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(short)
        need(size is not None and at + size <= len(data), "not CBOR")
        value = int.from_bytes(data[at : at + size], "big")
        at += size
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        need(at + value <= len(data), "not CBOR")
        raw = data[at : at + value]
        return (raw if major == 2 else ("text", raw)), at + value
    if major in (4, 5):
        items = []
        for _ in range(value * (major - 3)):
            item, at = cbor(data, at, depth + 1)
            items.append(item)
        if major == 4:
            return ("list", tuple(items)), at
        names = items[::2]
        need(len(names) == len(set(map(repr, names))), "a CBOR name stands twice")
        return {repr(name): item for name, item in zip(names, items[1::2])}, at
    need(major == 7 and short < 24, "not CBOR")
    return ("simple", value), at


class PublicKey:
    """A COSE key: ES256, EdDSA with Ed25519, or RS256."""

    def __init__(self, cose):
        members, end = cbor(cose, 0)
        need(end == len(cose) and isinstance(members, dict), "not a public key")
        of = lambda label: members.get(repr(label))
        kind = (of(1), of(3))
        try:
            if kind == (2, -7) and of(-1) == 1 and len(of(-2)) == len(of(-3)) == 32:
                point = b"\x04" + of(-2) + of(-3)
                public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
                self.verify = lambda signature, data: public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            elif kind == (1, -8) and of(-1) == 6:
                self.verify = Ed25519PublicKey.from_public_bytes(of(-2)).verify
            elif kind == (3, -257):
                n, e = (int.from_bytes(of(label), "big") for label in (-1, -2))
                public = rsa.RSAPublicNumbers(e, n).public_key()
                need(public.key_size >= 2048, "an RSA key that is too short")
                self.verify = lambda signature, data: public.verify(
                    signature, data, padding.PKCS1v15(), hashes.SHA256()
                )
            else:
                raise Wrong("a public key of no kind that counts")
        except (TypeError, ValueError, UnsupportedAlgorithm):
            raise Wrong("not a public key") from None


def challenge_of(form):
    """What a passkey has to sign: the SHA-256 of canonical JSON."""
    return hashlib.sha256(canonical({**form, "v": 1}).encode()).digest()


def check_signed(row, signed, challenge):
    """An assertion (WebAuthn Level 3, 7.2): by this key, on a page of its origin, the user verified."""
    need(isinstance(signed, dict) and set(signed) == SIGNED, "not an assertion")
    client_data = decode64url(signed["client_data"], "the client data", 4096)
    try:
        client = json.loads(client_data.decode("utf-8"), object_pairs_hook=unique)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise Wrong("the client data is not JSON") from None
    need(isinstance(client, dict) and client.get("type") == "webauthn.get", "signed for another purpose")
    need(client.get("challenge") == encode64url(challenge), "signed for another challenge")
    need(client.get("origin") == row["origin"], "signed on a page of another origin")
    within = client.get("crossOrigin", False) is not False or "topOrigin" in client
    need(not within, "signed within a page of another origin")
    said = decode64url(signed["authenticator_data"], "the authenticator's words", 4096)
    need(len(said) >= 37, "the authenticator's words are cut off")
    need(said[:32] == hashlib.sha256(row["rp_id"].encode()).digest(), "a key of another site")
    flags = said[32]
    need(flags & 1, "nobody was present")
    need(flags & 4, "the user was not verified")
    need(flags & 0x18 != 0x10, "the flags of a backup contradict each other")
    need(not flags & 0x40, "a signature came with a new key")
    end = 37
    if flags & 0x80:
        extensions, end = cbor(said, 37)
        need(isinstance(extensions, dict), "extensions that are no map")
    need(end == len(said), "something stands behind the authenticator's words")
    signature = decode64url(signed["signature"], "the signature", 1024)
    try:
        row["public"].verify(signature, said + hashlib.sha256(client_data).digest())
    except InvalidSignature:
        raise Wrong("the signature is not by this key") from None


SIGNED = {"authenticator_data", "client_data", "key", "signature"}
MEANS = {"local": 0, "passkey": 1}


class Approvals:
    """Passkeys, approvals and their uses: who signed what, and whether a call may lean on it."""

    def __init__(self):
        self.keys, self.gone, self.nonces = {}, set(), set()
        self.known = {}
        self.signed = self.unsigned = 0

    def spend(self, vote):
        nonce = vote.get("nonce")
        need(len(decode64url(nonce, "the nonce", 32)) == 32, "it has no nonce")
        need(nonce not in self.nonces, "its nonce was used before")
        self.nonces.add(nonce)

    def signer(self, vote, form):
        """Who signed it, after checking that."""
        signed = vote.get("assertion")
        row = self.keys.get(signed.get("key")) if isinstance(signed, dict) else None
        need(row is not None, "the key is not enrolled")
        check_signed(row, signed, challenge_of({**form, "nonce": vote.get("nonce")}))
        need(row["user"] == vote.get("user"), "the key is somebody else's")
        self.spend(vote)

    def enrolment(self, body):
        vote, key = body.get("vouched"), body.get("key")
        if vote is None and "rp_id" not in body:
            return  # of earlier versions: such a key approves nothing
        adds = "public_key" in body
        if vote is None:
            need(adds and not self.keys and not self.gone, "no key vouched for it")
        else:
            names = ("device", "key", "origin", "public_key", "rp_id", "user")
            form = {name: body.get(name) for name in names}
            self.signer(vote, {**form, "enrolment": "add" if adds else "remove"})
            taken = any(row["user"] == body.get("user") for row in self.keys.values())
            need(not adds or not taken or vote["user"] == body["user"], "somebody else added a key in a person's name")
        if not adds:
            need(key in self.keys and len(self.keys) > 1, "the last key, or one that is not enrolled, is removed")
            del self.keys[key]
            self.gone.add(key)
            for known in self.known.values():
                if known["state"] in ("pending", "granted") and any(one["key"] == key for one in known["votes"]):
                    known["state"] = "expired"
            return
        need(key not in self.keys and key not in self.gone, "the key was enrolled before")
        row = {name: body.get(name) for name in ("user", "origin", "rp_id")}
        need(all(isinstance(text, str) for text in row.values()), "the record of a key lacks something")
        others = {(other["origin"], other["rp_id"]) for other in self.keys.values()}
        need(others <= {(row["origin"], row["rp_id"])}, "the other keys belong to another origin")
        row["public"] = PublicKey(decode64url(body["public_key"], "the public key", 2048))
        self.keys[key] = row

    def approval(self, body, time):
        name, event = body["approval"], body["event"]
        known = self.known.get(name)
        if event == "requested":
            need(known is None, "asked twice")
            same = {member: body[member] for member in ("agent", "digest", "tool", "expires")}
            self.known[name] = {**same, "state": "pending", "asked": body.get("asked"), "votes": []}
            return
        need(known is not None, "nobody asked for it")
        for member in ("agent", "tool"):
            need(known[member] == body[member], f"of another {member} than was asked about")
        if event == "granted":
            self.granted(known, body, time)
        elif event == "refused":
            need(known["state"] == "pending", "a step that does not follow")
            known["state"] = "refused"
        else:
            need(event in ("expired", "revoked"), "an unknown step")
            is_open = known["state"] == "pending" or known["state"] == "granted" and known["uses"] > 0
            need(is_open, "a step that does not follow")
            known["state"] = event

    def granted(self, known, body, time):
        need(known["state"] == "pending", "a step that does not follow")
        need(known["digest"] == body["digest"] and body["uses"] > 0, "it grants something else than was asked")
        asked = known["asked"]
        if asked is None:  # of earlier versions: one record granted
            known.update(state="granted", uses=body["uses"], expires=body["expires"])
            return
        need(time < known["expires"], "granted too late")
        vote, by = body.get("vote"), body.get("by", "local")
        need(isinstance(vote, dict) and by in MEANS, "granted by nobody")
        need(MEANS[by] >= MEANS[asked["by"]], "granted by means that are too weak")
        word, _, rest = str(vote.get("extent")).partition(":")
        fits = {
            "once": not rest and body["uses"] == 1,
            "uses": rest == str(body["uses"]),
            "until": rest == body["expires"],
        }
        need(fits.get(word, False), "it grants something else than it says")
        key = None
        if "assertion" in vote:
            key = vote["assertion"].get("key")
            form = {member: body[member] for member in ("agent", "approval", "digest", "expires")}
            self.signer(vote, {**form, "effect": vote["extent"]})
        need(key is not None or by == "local", "no key signed it")
        votes = known["votes"]
        users, keys = {one["user"] for one in votes}, {one["key"] for one in votes} - {None}
        devices = asked.get("devices", 1)
        brings_key = key is not None and devices > 1 and len(keys) < devices
        fresh = (key is None or key not in keys) and (vote["user"] not in users or brings_key)
        need(fresh, "the same person, or the same key, granted twice")
        votes.append({"user": vote["user"], "key": key, "by": by, "uses": body["uses"], "until": body["expires"]})
        people = len(users | {vote["user"]})
        if people >= asked["approvers"] and (devices <= 1 or len((keys | {key}) - {None}) >= devices):
            uses, until = min(one["uses"] for one in votes), min(one["until"] for one in votes)
            known.update(state="granted", uses=uses, expires=until)

    def capability(self, body):
        """A capability that was granted: the person signed this very set, until then."""
        if body["event"] != "approved" or body.get("by") != "passkey":
            return
        texts = sorted({canonical(capability) for capability in body["capabilities"]})
        digest = "sha256:" + hashlib.sha256(f"[{','.join(texts)}]".encode()).hexdigest()
        need(digest == body["digest"], "the digest is of something else")
        vote = body.get("vote")
        need(isinstance(vote, dict), "granted by nobody")
        need(vote.get("extent") == "until:" + body["expires"], "it grants something else than it says")
        form = {member: body[member] for member in ("agent", "digest", "expires")}
        self.signer(vote, {**form, "approval": body["grant"], "effect": vote["extent"]})

    def used(self, body, time, hidden):
        use = body["approval"]
        known = self.known.get(use["id"])
        if known is None and hidden:
            self.unsigned += 1
            return
        wrong = f"the call {body['call']} uses the approval `{use['id']}`, which does not allow it"
        need(known is not None and known["state"] == "granted", wrong)
        need(known["uses"] > 0 and time < known["expires"], wrong)
        bound, votes = known["asked"] is not None, known["votes"]
        if bound:
            need(known["agent"] == body["agent"] and known["digest"] == body["call_digest"], wrong)
        signed = bound and bool(votes) and all(vote["by"] == "passkey" for vote in votes)
        if bound and use["by"] == "passkey":
            need(signed, f"the call {body['call']} was not approved with a passkey")
        known["uses"] -= 1
        self.signed += signed
        self.unsigned += not signed


class Verifier:
    def __init__(self, key, anchor):
        self.key = key
        self.anchor = anchor
        self.tree = Tree()
        self.last = self.tree.root()
        self.complete_to = 0
        self.checkpoints = self.hidden = self.refusals = self.unknown = 0
        self.open = set()
        self.seen = set()
        self.anchored_to = None
        self.approvals = Approvals()

    def line(self, line):
        value = parse(line)
        if set(value) == {"leaf"}:
            match = re.fullmatch(r"sha256:([0-9a-f]{64})", str(value["leaf"]))
            need(match is not None, "expected a leaf hash")
            leaf = bytes.fromhex(match[1])
            self.hidden += 1
        else:
            self.record(value)
            leaf = hashlib.sha256(b"\x00" + line).digest()
        self.last = leaf
        self.tree.append(leaf)
        if self.anchor and self.tree.size == self.anchor[1]:
            need(self.tree.root() == self.anchor[2], "these are not the records that were anchored")
            self.anchored_to = self.tree.size

    def record(self, value):
        need(set(value) == ENVELOPE, "not the members of a record")
        need(value["v"] == RECORD_VERSION and value["v"] is not True, f"version {value['v']} is not known")
        need(value["kind"] in KINDS, f"the kind `{value['kind']}` is not known")
        need(isinstance(value["body"], dict), "a record without a body")
        need(isinstance(value["time"], str) and TIME.fullmatch(value["time"]), "not a time")
        need(value["seq"] == self.tree.size, f"expected record {self.tree.size}, got {value['seq']}")
        need(value["prev"] == "sha256:" + self.last.hex(), "the record does not follow the one before it")
        kind, body = value["kind"], value["body"]
        if kind == "checkpoint":
            self.checkpoint(value)
        elif kind == "call-intent":
            call = self.call(body)
            need(call not in self.seen, f"two receipts for the call {call}")
            self.seen.add(call)
            self.open.add(call)
            if "approval" in body:
                self.approvals.used(body, value["time"], self.hidden)
        elif kind == "enrolment":
            self.approvals.enrolment(body)
        elif kind == "approval":
            self.approvals.approval(body, value["time"])
        elif kind == "grant":
            self.approvals.capability(body)
        elif kind == "call-outcome":
            call = self.call(body)
            need(call in self.open, f"an outcome for {call}, which is not open")
            self.open.remove(call)
            self.unknown += body.get("result") == "unknown"
        elif kind == "call-refused":
            call = self.call(body)
            need(call not in self.seen, f"two receipts for the call {call}")
            self.seen.add(call)
            self.refusals += 1

    @staticmethod
    def call(body):
        call = body.get("call")
        need(isinstance(call, str) and CALL.fullmatch(call), "a call record without a call")
        return call

    def checkpoint(self, value):
        need(set(value["body"]) == {"note"} and isinstance(value["body"]["note"], str), "not a checkpoint")
        _, size, root, time = open_note(value["body"]["note"], self.key)
        need(size == self.tree.size and root == self.tree.root(), "the checkpoint states another tree")
        need(time == value["time"], "the checkpoint states another time than its record")
        self.checkpoints += 1
        self.complete_to = size

    def finish(self):
        size = self.tree.size
        need(size == 0 or self.checkpoints > 0, "nothing here is signed")
        if self.anchor:
            missing = self.anchor[1] - size
            need(missing <= 0, f"the tail is missing: {missing} records that were anchored")
        return {
            "complete_to": self.complete_to,
            "unsigned": size - self.complete_to,
            "anchored_to": self.anchored_to,
            "calls": len(self.seen) - self.refusals,
            "open": len(self.open),
            "unknown": self.unknown,
            "refusals": self.refusals,
            "checkpoints": self.checkpoints,
            "hidden": self.hidden,
            "approved": self.approvals.signed,
            "approved_unsigned": self.approvals.unsigned,
        }


def verify(data, key, anchor):
    """The verdict on the bytes of an export."""
    lines = data.split(b"\n")
    try:
        need(lines.pop() == b"", "the last line is cut off")
        need(lines, "empty")
        first = parse(lines[0])
        need("export" in first, "expected the first line of an export")
        need(first["export"] == EXPORT_VERSION, f"version {first['export']} of the export format is not known")
        need(first == {"export": EXPORT_VERSION, "key": key.text}, "an export of a ledger with another key")
    except Wrong as wrong:
        raise Wrong(f"line 1: {wrong}") from None
    verifier = Verifier(key, anchor)
    for number, line in enumerate(lines[1:], start=2):
        try:
            verifier.line(line)
        except Wrong as wrong:
            raise Wrong(f"line {number}: {wrong}") from None
    return verifier.finish()


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description="Verify an export of Exeat's receipts offline.")
    parser.add_argument("export", help="the export, one record a line")
    parser.add_argument("--key", required=True, help="the ledger's public key, or a file that holds it")
    parser.add_argument("--anchor", help="a file with a checkpoint that was kept elsewhere")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    arguments = parser.parse_args()
    try:
        with open(arguments.export, "rb") as file:
            data = file.read()
        key_text = read_text(arguments.key) if os.path.isfile(arguments.key) else arguments.key
        anchor_text = read_text(arguments.anchor) if arguments.anchor else None
    except (OSError, UnicodeDecodeError) as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    try:
        key = Key(key_text)
        anchor = open_note(anchor_text, key) if anchor_text is not None else None
        verdict = verify(data, key, anchor)
    except Wrong as wrong:
        if arguments.json:
            print(json.dumps({"verdict": "failed", "problem": str(wrong)}))
        else:
            print(f"failed: {wrong}")
        return 1
    proven = verdict["anchored_to"] is not None
    if arguments.json:
        print(json.dumps({"verdict": "proven" if proven else "tail-unproven", **verdict}))
    else:
        tail = f"tail proven to {verdict['anchored_to']}" if proven else "tail unproven"
        print(f"complete to {verdict['complete_to']}, {tail}")
        print(
            f"{verdict['calls']} calls ({verdict['open']} open, {verdict['unknown']} unknown), "
            f"{verdict['refusals']} refusals, {verdict['checkpoints']} checkpoints, {verdict['hidden']} hidden"
        )
        if verdict["approved"] or verdict["approved_unsigned"]:
            print(
                f"{verdict['approved']} calls approved with passkeys, every signature checked; "
                f"{verdict['approved_unsigned']} approved otherwise"
            )
    return 0 if proven else 3


if __name__ == "__main__":
    sys.exit(main())
