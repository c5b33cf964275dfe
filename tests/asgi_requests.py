"""Send requests to an ASGI application exactly as they are written, without an HTTP client."""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes


@dataclass
class Answer:
    """A response."""

    status: int
    headers: list[tuple[str, str]]
    content: bytes

    @property
    def json(self):
        return json.loads(self.content)

    def header(self, name):
        return ", ".join(value for key, value in self.headers if key == name)


def send(app, method, target, headers=(), body=b"", chunks=None):
    """Send a request, whose target is percent-encoded, and return the answer.

    Arguments:
        app: The application.
        method: The method.
        target: The path and the query, which are not normalized.
        headers: Pairs of names and values.
        body: The body.
        chunks: An iterator of the parts of the body, which replaces ``body``.
    """
    path, _, query = target.partition("?")
    decoded = unquote_to_bytes(path).decode("utf-8", "replace")
    parts = iter([body]) if chunks is None else chunks
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": decoded,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8642),
    }
    answer, has_ended = Answer(0, [], b""), False

    async def receive():
        nonlocal has_ended
        if has_ended:
            await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}
        part = next(parts, None)
        has_ended = part is None
        return {"type": "http.request", "body": part or b"", "more_body": not has_ended}

    async def respond(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(k.decode(), v.decode()) for k, v in message["headers"]]
        else:
            answer.content += message.get("body", b"")

    asyncio.run(app(scope, receive, respond))
    return answer
