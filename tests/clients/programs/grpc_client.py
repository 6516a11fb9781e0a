"""A program that uses the `grpcio` client as its documentation shows it, and prints what came as a line of JSON."""

import json
import os
import queue

import grpc

METADATA = [("authorization", f"Bearer {os.environ['RPC_TOKEN']}")]
LIMITS = [("grpc.max_receive_message_length", 8 << 20)]
MORE = {"metadata": METADATA, "timeout": 60}


def both(channel):
    """Sends the next message when the answer to the one before it came."""
    waiting = queue.Queue()
    answers = channel.stream_stream("/matrix.Echo/Both")(iter(waiting.get, None), **MORE)
    came = []
    for number in range(5):
        waiting.put(b"%d" % number)
        came.append(next(answers).decode())
    waiting.put(None)
    return came + [answer.decode() for answer in answers]


def fail(channel):
    try:
        channel.unary_unary("/matrix.Echo/Fail")(b"hello", **MORE)
    except grpc.RpcError as error:
        return [error.code().name, error.details(), dict(error.trailing_metadata())["x-note"]]
    return None


def main():
    with grpc.secure_channel("rpc.example.com:443", grpc.ssl_channel_credentials(), options=LIMITS) as channel:
        unary = channel.unary_unary("/matrix.Echo/Unary")
        answer, call = unary.with_call(b"hello", **MORE)
        large = os.urandom(3 << 20)
        outcome = {
            "Unary": [answer.decode(), dict(call.trailing_metadata())["x-note"]],
            "Down": [message.decode() for message in channel.unary_stream("/matrix.Echo/Down")(b"hello", **MORE)],
            "Up": channel.stream_unary("/matrix.Echo/Up")(iter([b"a", b"b", b"c"]), **MORE).decode(),
            "Both": both(channel),
            "Fail": fail(channel),
            "large": unary(large, **MORE) == b"echo: " + large,
        }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
