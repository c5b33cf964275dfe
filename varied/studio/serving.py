"""Serve the application with uvicorn on a free port."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from varied.errors import VariedError
from varied.studio.app import create_app
from varied.studio.security import Access

#: The number of ports that are tried, and the number of seconds for which open requests may still
#: run when the server ends.
_MAX_PORTS, _SHUTDOWN_SECONDS = 50, 2
#: The errors of a port that another process uses, or that requires privileges.
_BUSY = (errno.EADDRINUSE, errno.EACCES)
_WILDCARDS = ("", "*", "0.0.0.0", "::", "[::]")


class Server(uvicorn.Server):
    """A server of the page and the API, which already listens at its address.

    Arguments:
        root: The folder that contains the runs.
        run: The folder of the only run that is served, or None.
        host: The name or address to listen at.
        port: The preferred port; 0 for any free port.
        on_start: A function that is called when the server answers requests.

    Raises:
        VariedError: If the address cannot be used.
    """

    def __init__(
        self,
        root: Path,
        *,
        run: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 8642,
        on_start: Callable[[Access], object] = lambda access: None,
    ) -> None:
        self.listener, self.on_start = bind(host, port), on_start
        self.access = Access(self.listener.getsockname()[1], host)
        self.app = create_app(root, self.access, run)
        self.app.state.studio.is_closing = lambda: self.should_exit
        settings: dict[str, Any] = {"log_level": "warning", "access_log": False}
        settings |= {"server_header": False, "timeout_graceful_shutdown": _SHUTDOWN_SECONDS}
        super().__init__(uvicorn.Config(self.app, **settings))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer requests."""
        await super().startup(sockets)
        self.on_start(self.access)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; requests that are canceled are not reported as errors."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)

    def serve_until_interrupt(self) -> None:
        """Answer requests until the process is interrupted."""
        try:
            self.run(sockets=[self.listener])
        finally:
            self.app.state.studio.close()


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port, or to the next free one.

    Raises:
        VariedError: If the host is not an address of this machine, or no port is free.
    """
    if host.strip() in _WILDCARDS:
        raise VariedError(
            f"--host {host} has no name of its own; use the name or the address by which other "
            "machines reach this one, such as --host 192.168.1.20."
        )
    ports = range(port, min(port + _MAX_PORTS, 65_536)) if port else (0,)
    for number in ports:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            raise VariedError(
                f"There is no host '{host}' ({error}); use --host 127.0.0.1."
            ) from None
        # asyncio turns Nagle's algorithm off only if the protocol is named, which saves 40 ms.
        result = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            result.bind(address)
            result.listen(2048)
        except OSError as error:
            result.close()
            if error.errno not in _BUSY:
                reason = error.strerror or error
                raise VariedError(
                    f"{host}:{number} cannot be used ({reason}); use --host 127.0.0.1, or another "
                    "--port."
                ) from None
            continue
        return result
    raise VariedError(f"No port from {ports[0]} to {ports[-1]} is free; choose one with --port.")
