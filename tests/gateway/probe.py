"""Ways out that an agent might try: probe.py, with a list of probes as JSON on standard input.

A probe is {"id", "kind", "to", "port", ...}. For each, prints {"id", "state", "detail", "seconds"} as a line of JSON. The
state is "open" when something answered that is not Exeat, or when nothing refused the attempt: a way out that is shut is
shut at once, unless the probe says {"silence": true}, as on a network where nobody is there to refuse anything. It needs nothing but Python's standard library and runs where the agent runs.
"""

import errno
import json
import os
import socket
import ssl
import struct
import sys
import time

# How long to wait for an answer; not as long where silence is what is expected.
WAIT_SECS, SILENCE_SECS = 3, 1


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def patience(probe):
    return SILENCE_SECS if probe.get("silence") else WAIT_SECS


def refused(error, probe):
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return ("closed" if probe.get("silence") else "open"), "nothing refused it"
    return "closed", errno.errorcode.get(error.errno, str(error))


def tcp(probe):
    """A connection to a port that nobody should be able to reach."""
    try:
        with socket.create_connection((probe["to"], probe["port"]), timeout=patience(probe)):
            return "open", "connected"
    except OSError as error:
        return refused(error, probe)


def udp(probe):
    try:
        with socket.socket(family(probe["to"]), socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(patience(probe))
            datagrams.connect((probe["to"], probe["port"]))
            datagrams.send(b"anybody there?")
            return "open", f"answered {datagrams.recv(64)!r}"
    except OSError as error:
        return refused(error, probe)


def icmp(probe):
    """An echo request. Any ICMP error about it shuts it."""
    v6 = ":" in probe["to"]
    protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    request, reply, errors = (128, 129, (1, 3)) if v6 else (8, 0, (3, 11))
    head = struct.pack("!BBHHH", request, 0, 0, os.getpid() & 0xFFFF, 1)
    total = sum(struct.unpack("!4H", head))
    head = head[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[4:]
    try:
        with socket.socket(family(probe["to"]), socket.SOCK_RAW, protocol) as raw:
            raw.sendto(head, (probe["to"], 0))
            end = time.monotonic() + patience(probe)
            while (left := end - time.monotonic()) > 0:
                raw.settimeout(left)
                packet, _ = raw.recvfrom(2048)
                kind = packet[0 if v6 else (packet[0] & 15) * 4]
                if kind == reply:
                    return "open", "an echo came back"
                if kind in errors:
                    return "closed", f"ICMP type {kind}"
            raise TimeoutError
    except OSError as error:
        return refused(error, probe)


def dns(probe):
    """A question to a name server of the probe's choice. Shut when it is refused, or answered with an address of ours."""
    name = b"".join(bytes([len(label)]) + label for label in probe["name"].encode().split(b"."))
    query = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!BHH", 0, probe.get("type", 1), 1)
    try:
        if probe.get("over") == "tcp":
            with socket.create_connection((probe["to"], probe["port"]), timeout=patience(probe)) as stream:
                stream.sendall(struct.pack("!H", len(query)) + query)
                reply = stream.recv(2048)[2:]
        else:
            with socket.socket(family(probe["to"]), socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(patience(probe))
                datagrams.connect((probe["to"], probe["port"]))
                datagrams.send(query)
                reply = datagrams.recv(2048)
    except OSError as error:
        return refused(error, probe)
    if len(reply) < 12 or reply[:2] != query[:2]:
        return "open", f"answered {reply[:64]!r}"
    code, answers = reply[3] & 15, struct.unpack("!H", reply[6:8])[0]
    if answers == 0:
        return "closed", f"code {code}, no answer"
    address = socket.inet_ntoa(reply[-4:])
    ours = address.startswith(("198.18.", "198.19.")) or address in probe.get("ours", [])
    return ("closed" if ours else "open"), f"code {code}, {address}"


def http(probe):
    """A plain request. Shut when Exeat refuses it, or nothing takes it."""
    host = probe.get("host", probe["to"])
    first = probe.get("request", f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    try:
        with socket.create_connection((probe["to"], probe["port"]), timeout=patience(probe)) as stream:
            stream.sendall(first.encode())
            answer = stream.recv(4096)
    except OSError as error:
        return refused(error, probe)
    status = answer.split(b" ")[1:2]
    if not answer or b"application/problem+json" in answer and status and int(status[0]) in range(400, 500):
        return "closed", f"status {status}"
    return "open", f"answered {answer[:64]!r}"


def https(probe):
    """A handshake for a name; what comes back has to be a refusal by Exeat, or nothing."""
    context = ssl._create_unverified_context()
    try:
        with socket.create_connection((probe["to"], probe["port"]), timeout=patience(probe)) as stream:
            with context.wrap_socket(stream, server_hostname=probe.get("name")) as inside:
                host = probe.get("host", probe.get("name") or probe["to"])
                inside.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = inside.recv(4096)
    except ssl.SSLError as error:
        # The simulated Internet does not speak TLS, but to have reached it is enough.
        reached = "WRONG_VERSION" in str(error) or "RECORD_LAYER" in str(error)
        return ("open" if reached else "closed"), str(error)
    except OSError as error:
        return refused(error, probe)
    if not answer or b"application/problem+json" in answer:
        return "closed", f"refused {answer[:32]!r}"
    return "open", f"answered {answer[:64]!r}"


KINDS = {"tcp": tcp, "udp": udp, "icmp": icmp, "dns": dns, "http": http, "https": https}

for one in json.load(sys.stdin):
    began = time.monotonic()
    state, detail = KINDS[one["kind"]](one)
    took = round(time.monotonic() - began, 3)
    print(json.dumps({"id": one["id"], "state": state, "detail": detail, "seconds": took}), flush=True)
