"""Clients that trust one root, whatever they are told: the gate cannot open their connections."""

import servers
from cases import case
from cases.curl import STATIC, WEB, curl
from world import expect, holds


def pinned(site, network=""):
    """A site of public pages at https://web.example.com."""
    folder = site.outside / "files"
    folder.mkdir()
    (folder / "page.html").write_bytes(WEB["page.html"])
    front = servers.nginx(site, "", STATIC.format(files=folder))
    site.api("web", front.port, {"page": "GET /page.html"})
    site.ready(network)
    return front


def ask(site):
    # That it heeds SSL_CERT_FILE for other roots does not matter: this replaces them.
    return curl(site, "--cacert", site.inside / "root.pem", "https://web.example.com/page.html")


REFUSED = "no: it gets a TLS error, and nothing reaches the server; name the host under `passthrough`"


@case("curl, pinned", "a client that trusts only the root of its server", "curl --version", works=REFUSED)
def refused(site):
    front = pinned(site)
    # 60: the certificate of the peer cannot be trusted.
    expect(ask(site).status, 60, "how curl ended")
    holds(not front.seen(), "upstream saw a request")


@case("curl, pinned", "the same, its host named under `passthrough`: unread, without a credential", "curl --version")
def passed(site):
    front = pinned(site, 'passthrough = ["web.example.com:443"]')
    expect(ask(site).well().out, WEB["page.html"], "body")
    expect({one["authorization"] for one in front.seen()}, {""}, "credentials that upstream saw")
    expect([tool for tool, *_ in site.receipts()], ["passthrough"], "receipts")
