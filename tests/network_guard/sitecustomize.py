"""Refuse connections to other machines, in the tests and in the processes that they start.

Python imports this module when it starts if its folder is in ``PYTHONPATH``, where
``tests/conftest.py`` adds it.
"""

import ipaddress
import socket
import sys

#: The index of the address or host in the arguments of each audit event.
EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
    "socket.getnameinfo": 0,
}


class NetworkAccess(BaseException):
    """Raised if a test connects to another machine; ``except Exception`` does not catch it."""


def is_local(address):
    """Return whether an address is one of this machine, or the path of a Unix socket."""
    if not isinstance(address, tuple):  # the path of a Unix socket
        return True
    host = address[0].decode() if isinstance(address[0], bytes) else address[0]
    try:
        own = (None, "localhost", socket.gethostname())
        return host in own or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def refuse(event, arguments):
    """Raise an error if an audit event is a connection or the resolution of a name."""
    if event not in EVENTS:
        return
    value = arguments[EVENTS[event]]
    is_name = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
    if not is_local((value,) if is_name else value):
        raise NetworkAccess(f"{event}: tests may not connect to {value!r}.")


sys.addaudithook(refuse)
