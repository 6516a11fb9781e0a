"""gRPC: Google's Python client and server."""

import servers
from cases import case
from cases.python import asks
from world import HERE, expect

CALLS = ["Unary", "Down", "Up", "Both", "Fail"]


@case("gRPC (grpcio)", "unary, server, client and two-way streams; trailers; an error status", asks("grpcio"))
def grpc(site):
    secret = site.credential("rpc", "rpc.example.com", env="RPC_TOKEN")
    server = servers.python(site, "grpc_server.py")
    binary = '[tool.input.body]\nmedia = "binary"'
    tools = {name.lower(): (f"POST /matrix.Echo/{name}", binary) for name in CALLS}
    site.api("rpc", server.port, tools, "rpc")
    site.ready()
    got = site.sealed(site.world.python, HERE / "programs/grpc_client.py").well().lines()[0]
    expect(got["Unary"], ["echo: hello", "of unary"], "unary and its trailer")
    expect(got["Down"], [f"hello {number}" for number in range(5)], "a stream of the server")
    expect(got["Up"], "a b c", "a stream of the client")
    # Each message goes out only when the answer to the one before it came: neither side may be held back.
    expect(got["Both"], [f"echo: {number}" for number in range(5)], "two streams at once")
    expect(got["Fail"], ["FAILED_PRECONDITION", "not today", "of the failure"], "an error and its trailer")
    expect(got["large"], True, "a message of 3 MiB")
    server.saw_only(f"Bearer {secret}")
    site.allowed(rpc__unary=2, rpc__down=1, rpc__up=1, rpc__both=1, rpc__fail=1)
