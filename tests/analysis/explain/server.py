"""An endpoint on loopback that misbehaves as it is told, in a thread of this process."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def completion(text: str, finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40},
    }


def answers(value: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    """A good answer that holds this JSON."""
    return completion(json.dumps(value), finish)


class Endpoint:
    """script: what each request in turn gets: a completion, a status, `slow`, `cut` (the body ends
    early), or bytes as they are; the last one again when it is used up. requests: bodies received;
    keys: their Authorization."""

    def __init__(self, script: list[Any]) -> None:
        self.script, self.requests, self.keys = list(script), list[dict[str, Any]](), list[str]()

    def next(self) -> Any:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def serving(*script: Any) -> Iterator[tuple[Endpoint, str]]:
    """The endpoint and its address."""
    endpoint = Endpoint(list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            endpoint.requests.append(json.loads(self.rfile.read(size)))
            endpoint.keys.append(self.headers["Authorization"])
            self.reply(endpoint.next())

        def reply(self, what: Any) -> None:
            if what == "slow":
                time.sleep(0.3)
                what = completion("late")
            status = what if isinstance(what, int) else 200
            body = what if isinstance(what, bytes) else json.dumps(what).encode()
            cut = what == "cut"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) + 100 * cut))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            with suppress(OSError):  # the client may have gone
                self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name)
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint, f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
