"""A gRPC server of the `grpcio` package; messages are plain bytes.

    python grpc_server.py --key FILE --cert FILE --record FILE

Prints {"port": N} when ready and ends when its standard input ends.
"""

import argparse
import concurrent.futures
import json
import pathlib
import sys

import grpc

MESSAGE_BYTES_MAX = 8 << 20


def main():
    parser = argparse.ArgumentParser()
    for name in ("key", "cert", "record"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()

    def seen(context):
        with open(options.record, "a", encoding="utf-8") as record:
            record.write(json.dumps({"authorization": dict(context.invocation_metadata()).get("authorization")}) + "\n")

    def unary(message, context):
        seen(context)
        context.set_trailing_metadata([("x-note", "of unary")])
        return b"echo: " + message

    def down(message, context):
        seen(context)
        for number in range(5):
            yield message + b" %d" % number

    def up(messages, context):
        seen(context)
        return b" ".join(messages)

    def both(messages, context):
        seen(context)
        for message in messages:
            yield b"echo: " + message

    def fail(_message, context):
        seen(context)
        context.set_trailing_metadata([("x-note", "of the failure")])
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")

    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    limits = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8), options=limits)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("matrix.Echo", methods)])
    key, cert = pathlib.Path(options.key).read_bytes(), pathlib.Path(options.cert).read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    server.start()
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
