"""Ports on the loopback address that several local stacks can share out among themselves."""

import random
import socket

LOOPBACK = "127.0.0.1"

# Below the range from which kernels hand out ports by themselves (32768 up on Linux, 49152 up
# on macOS): a server that is stopped for a while finds its port free when it comes back.
_FIRST, _LAST = 20000, 32767
_ATTEMPTS = 200


def port_is_free(port: int) -> bool:
    """Whether a server could listen on the port of the loopback address now."""
    with socket.socket() as probe:
        # As the servers do, so that connections still in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(taken: set[int]) -> int:
    """A port that is free now and not among those taken.

    Another process may still be faster: who starts a server on it has to be ready to retry.
    """
    for _ in range(_ATTEMPTS):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 - nothing secret about it
        if port not in taken and port_is_free(port):
            return port
    with socket.socket() as probe:  # a crowded machine: let the kernel choose
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
