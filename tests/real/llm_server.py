"""A simulated counterpart: speaks the streaming wire formats of Anthropic's and OpenAI's APIs over TLS.

    python llm_server.py --key FILE --cert FILE --record FILE

Prints {"port": N} when ready and ends when its standard input ends. Each request is appended to the record file as a
line of JSON with the credentials as they arrived. What the answer holds is decided by the last word of the prompt:

    echo     the credential that was seen, whole in one event
    chunks   the same event, cut inside the credential into two writes
    events   the credential, cut over two events
    wait     one event; the rest follows after `GET /go`, which the test sends past the gate

It does not sleep, and it knows nothing of models: the text is fixed.
"""

import argparse
import http.server
import json
import ssl
import sys
import threading

TEXT = ["Hello", ", ", "world", "."]
GO = threading.Event()
GO_TIMEOUT_SECS = 30


def main():
    parser = argparse.ArgumentParser()
    for name in ("key", "cert", "record"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    Answers.record = options.record
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    # The handshake belongs to the thread of the connection, not to the one that accepts.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    sys.stdin.read()


class Answers(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    record = None
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/go":
            GO.set()
        self.answer(200 if self.path == "/go" else 404, {})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        body = json.loads(raw or b"{}")
        bearer = self.headers.get("authorization", "")
        seen = self.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
        self.note(body, bearer)
        formats = {
            "/v1/messages": anthropic_messages,
            "/v1/chat/completions": openai_chat,
            "/v1/responses": openai_responses,
        }
        if self.path not in formats:
            self.answer(404, {"error": {"type": "not_found_error", "message": "no such path"}})
        elif not seen:
            self.answer(401, {"error": {"type": "authentication_error", "message": "no key"}})
        elif not body.get("stream"):
            self.answer(400, {"error": {"type": "invalid_request_error", "message": f"only streams, {seen}"}})
        else:
            self.stream(formats[self.path], prompt(body).split()[-1], seen, body.get("model", ""))

    def note(self, body, bearer):
        line = {"path": self.path, "x-api-key": self.headers.get("x-api-key"), "authorization": bearer or None}
        line["model"] = body.get("model")
        with self.lock, open(self.record, "a", encoding="utf-8") as record:
            record.write(json.dumps(line) + "\n")

    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def stream(self, events_of, mode, seen, model):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        half = len(seen) // 2
        deltas = {
            "echo": [f"your key is {seen}, I think"],
            "chunks": [f"your key is {seen}, I think"],
            "events": ["your key is ", seen[:half], seen[half:], ", I think"],
        }.get(mode, TEXT)
        for event in events_of(model, deltas):
            raw = event.encode()
            cut = raw.find(seen.encode()) + half if mode == "chunks" and seen in event else 0
            for part in (raw[:cut], raw[cut:]):
                self.chunk(part)
            # By then one event with text is out; the client must see it before anything else is sent.
            if mode == "wait" and TEXT[0] in event and not GO.wait(GO_TIMEOUT_SECS):
                return
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, raw):
        if raw:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
            self.wfile.flush()


def prompt(body):
    """The last text that the user sent, in any of the formats."""
    turns = body.get("messages") or body.get("input") or "nothing"
    content = turns if isinstance(turns, str) else turns[-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def named(event, **fields):
    return f"event: {event}\ndata: {json.dumps({'type': event, **fields})}\n\n"


def anthropic_messages(model, deltas):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}
    yield named("message_start", message=message)
    yield named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield named("ping")
    for text in deltas:
        yield named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
    yield named("content_block_stop", index=0)
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    yield named("message_delta", delta=ended, usage={"output_tokens": len(deltas)})
    yield named("message_stop")


def openai_chat(model, deltas):
    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        return f"data: {json.dumps({**whole, 'choices': [choice]})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for text in deltas:
        yield chunk({"content": text})
    yield chunk({}, "stop")
    yield "data: [DONE]\n\n"


def openai_responses(model, deltas):
    text = "".join(deltas)
    number = iter(range(1000))

    def event(name, **fields):
        return named(name, sequence_number=next(number), **fields)

    def response(status, output):
        whole = {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": model}
        whole |= {"error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "output": output}
        return whole | {"parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0}

    def part(words):
        return {"type": "output_text", "text": words, "annotations": []}

    def item(status, content):
        return {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}

    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield event("response.created", response=response("in_progress", []))
    yield event("response.output_item.added", output_index=0, item=item("in_progress", []))
    yield event("response.content_part.added", part=part(""), **place)
    for words in deltas:
        yield event("response.output_text.delta", delta=words, logprobs=[], **place)
    yield event("response.output_text.done", text=text, logprobs=[], **place)
    yield event("response.content_part.done", part=part(text), **place)
    done = item("completed", [part(text)])
    yield event("response.output_item.done", output_index=0, item=done)
    yield event("response.completed", response=response("completed", [done]))


if __name__ == "__main__":
    main()
