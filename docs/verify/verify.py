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
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    print("verify.py needs the package `cryptography` (pip install cryptography)", file=sys.stderr)
    sys.exit(2)

EXPORT_VERSION = 1
RECORD_VERSION = 1
KINDS = {
    "call-intent", "call-outcome", "call-refused", "connection", "approval", "enrolment", "alarm", "policy-change",
    "credential-change", "token-change", "budget-change", "self-test", "sweep", "upgrade",
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
    return 0 if proven else 3


if __name__ == "__main__":
    sys.exit(main())
