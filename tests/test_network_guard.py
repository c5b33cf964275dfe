"""Tests cannot connect to other machines."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

CONNECT = {
    "connect": lambda: socket.create_connection(("192.0.2.1", 80), timeout=0.1),
    "connect_ex": lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
    "IPv6": lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
    "sendto": lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 80)),
    "getaddrinfo": lambda: socket.getaddrinfo("example.org", 80),
    "gethostbyname": lambda: socket.gethostbyname("example.org"),
    "gethostbyaddr": lambda: socket.gethostbyaddr("192.0.2.1"),
    "urlopen": lambda: urllib.request.urlopen("http://example.org/", timeout=0.1),
}


@pytest.mark.parametrize("name", CONNECT)
def test_connections_are_refused(name):
    try:
        CONNECT[name]()
    except BaseException as error:
        assert type(error).__name__ == "NetworkAccess"  # not an Exception, which code may catch
        assert not isinstance(error, Exception)
    else:
        raise AssertionError(name)


def test_processes_of_tests_are_guarded_as_well():
    code = "import urllib.request as r\ntry: r.urlopen('http://example.org')\nexcept Exception: ..."
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "NetworkAccess: socket.getaddrinfo: tests may not connect to 'example.org'" in (
        result.stderr
    )


def test_loopback_and_unix_sockets_are_allowed(tmp_path):
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, "socket")):
        with socket.socket(family) as server, socket.socket(family) as client:
            server.bind(address if isinstance(address, tuple) else str(tmp_path / address))
            server.listen()
            thread = threading.Thread(target=server.accept)
            thread.start()
            client.connect(server.getsockname())
            thread.join()
    assert socket.getaddrinfo("localhost", 80)
