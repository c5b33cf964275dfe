"""Refuse requests that do not come from the page or from a client with the token.

A page on the web can send requests to this machine, and a host name can be made to resolve to it
(DNS rebinding). `Guard` therefore checks, for each request, the Host and Origin headers exactly,
and then the token. It also limits the sizes of bodies while they are received, and adds the
security headers to each response.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from varied.studio.failures import failure_body

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    )
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
COOKIE = "varied_token"
#: The maximum sizes of bodies, in bytes: of JSON, of JSON with examples, and of uploads.
MAX_JSON, MAX_EXAMPLES_JSON, MAX_UPLOAD = 10**6, 16 * 10**6, 2 * 10**9
#: The methods that never change the state of the server.
_SAFE_METHODS = ("GET", "HEAD")
_LOGGER = logging.getLogger("varied.studio")

App = Callable[[Any, Any, Any], Any]


def create_token() -> str:
    """Return a new random token of 32 bytes."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Access:
    """Who may use the server.

    Arguments:
        port: The port.
        host: The name or address of the server in links; a loopback address by default.
        token: The token; a new one by default.
    """

    port: int
    host: str = "127.0.0.1"
    token: str = field(default_factory=create_token, repr=False)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The permitted values of the Host header."""
        names = dict.fromkeys(("127.0.0.1", "localhost", bracket(self.host)))
        return tuple(f"{name}:{self.port}".lower() for name in names)

    @property
    def address(self) -> str:
        """The address of the page, without the token."""
        return f"http://{bracket(self.host)}:{self.port}/"

    @property
    def link(self) -> str:
        """The address of the page, with the token."""
        return f"{self.address}?token={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie, which has the port, since ports do not separate cookies."""
        return f"{COOKIE}_{self.port}"

    def accepts(self, token: str) -> bool:
        """Return whether a token is right, in constant time."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode())


def bracket(host: str) -> str:
    """Return a host as it stands in an address: an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host else host


class _BodyTooLarge(Exception):
    """Raised when more bytes are received than are permitted."""


class Guard:
    """ASGI middleware that checks the requests, limits their bodies, and adds headers.

    Arguments:
        app: The application.
        access: Who may use the server.
        max_bytes: A function that returns the maximum size of the body of a request to a path.
    """

    def __init__(self, app: App, access: Access, max_bytes: Callable[[str], int]) -> None:
        self.app, self.access, self.max_bytes = app, access, max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            exchange = _Exchange(scope, receive, send, self.max_bytes(scope["path"]))
            await self._answer(exchange)
        else:  # there are no websockets
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, exchange: _Exchange) -> None:
        refusal = self._refuse(exchange)
        if refusal is not None:
            await exchange.fail(*refusal)
        elif self._is_login(exchange):
            await exchange.redirect(self.access)
        elif exchange.is_declared_too_large:
            await exchange.fail(413, exchange.too_large)
        else:
            await exchange.run(self.app)

    def _refuse(self, exchange: _Exchange) -> tuple[int, str] | None:
        """Return the status and the sentence for a request that is refused."""
        hosts, origins = exchange.header("host"), exchange.header("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self.access.hosts:
            return 403, f"The Host header is not that of this server; use {self.access.address}."
        has_right_origin = origins == [f"http://{hosts[0].lower()}"]
        if origins and not has_right_origin:
            return 403, "Requests from other pages are refused; open the link in the terminal."
        if exchange.header("sec-fetch-site")[:1] == ["cross-site"] and exchange.path != "/":
            return 403, "Requests from other pages are refused; open the link in the terminal."
        scheme, _, bearer = ",".join(exchange.header("authorization")).partition(" ")
        if scheme == "Bearer" and self.access.accepts(bearer):
            return None
        if self._is_login(exchange):
            return None
        if not any(map(self.access.accepts, exchange.cookies())):
            return 401, "The token is missing or wrong; open the link in the terminal again."
        is_same_origin = exchange.header("sec-fetch-site") == ["same-origin"]
        if exchange.method not in _SAFE_METHODS and not (has_right_origin or is_same_origin):
            return 403, "A request that changes something requires the Origin header of the page."
        return None

    def _is_login(self, exchange: _Exchange) -> bool:
        """Return whether a request has the token in its address, as the link in the terminal."""
        tokens = exchange.query("token")
        is_page = exchange.path == "/" and exchange.method in _SAFE_METHODS
        return is_page and len(tokens) == 1 and self.access.accepts(tokens[0])


class _Exchange:
    """A request and its response.

    Arguments:
        scope: The scope of the request.
        receive: The function that receives the body.
        send: The function that sends the response.
        max_bytes: The maximum size of the body.
    """

    def __init__(self, scope: Any, receive: Any, send: Any, max_bytes: int) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.path, self.method = str(scope["path"]), str(scope["method"])
        self.max_bytes, self.received = max_bytes, 0
        self.has_started = False

    def header(self, name: str) -> list[str]:
        """Return all values of a header of the request."""
        key = name.encode()
        return [v.decode("latin-1") for k, v in self.scope["headers"] if k.lower() == key]

    def query(self, name: str) -> list[str]:
        """Return all values of a parameter in the address."""
        text = self.scope["query_string"].decode("latin-1")
        try:
            return parse_qs(text, max_num_fields=100).get(name, [])
        except ValueError:
            return []

    def cookies(self) -> Iterable[str]:
        """Return the tokens in the cookies."""
        for header in self.header("cookie"):
            try:
                values = SimpleCookie(header)
            except CookieError:
                continue
            yield from (c.value for name, c in values.items() if name.startswith(COOKIE))

    @property
    def too_large(self) -> str:
        """The sentence for a body that is too large."""
        return (
            f"The body of the request has more than {self.max_bytes:,} bytes; send fewer examples "
            "at once."
        )

    @property
    def is_declared_too_large(self) -> bool:
        """Whether the Content-Length of the body is too large or not a number."""
        lengths = self.header("content-length")
        return any(not n.isdecimal() or int(n[:20]) > self.max_bytes for n in lengths)

    async def run(self, app: App) -> None:
        """Let the application answer; an error becomes a sentence, and its traceback is logged."""
        try:
            await app(self.scope, self.receive, self.send)
        except _BodyTooLarge:
            pass
        except Exception:
            _LOGGER.exception("Error while answering %s %r", self.method, self.path)
            if self.has_started:
                raise
            await self.fail(500, "The server failed to answer; its terminal shows the error.")
        if self.received > self.max_bytes and not self.has_started:
            await self.fail(413, self.too_large)

    async def receive(self) -> Any:
        """Receive a part of the body, within the limit."""
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if self.received > self.max_bytes:
            raise _BodyTooLarge
        return message

    async def send(self, message: Any) -> None:
        """Send a part of the response, with the security headers."""
        if self.received > self.max_bytes and not self.has_started:
            return  # `run` answers instead
        if message["type"] == "http.response.start":
            self.has_started = True
            given = message.get("headers", [])
            names = {name.lower() for name, _ in given}
            headers = {**SECURITY_HEADERS, "cache-control": "no-store"}
            more = [(k.encode(), v.encode()) for k, v in headers.items() if k.encode() not in names]
            message = {**message, "headers": [*given, *more]}
        await self._send(message)

    async def fail(self, status: int, sentence: str) -> None:
        """Answer with an error."""
        self.received = 0
        body = failure_body(status, sentence)
        headers = [(b"content-type", b"application/json")]
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status in (401, 403, 413):  # the body is not received
            headers.append((b"connection", b"close"))
        await self._respond(status, headers, body)

    async def redirect(self, access: Access) -> None:
        """Store the token in a cookie, and redirect to the page without the token."""
        cookie = f"{access.cookie}={access.token}; HttpOnly; SameSite=Strict; Path=/"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode())]
        await self._respond(303, headers, b"")

    async def _respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        length = (b"content-length", str(len(body)).encode())
        start = {"type": "http.response.start", "status": status, "headers": [*headers, length]}
        await self.send(start)
        sent = b"" if self.method == "HEAD" else body
        await self.send({"type": "http.response.body", "body": sent})
