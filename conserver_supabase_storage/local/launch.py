"""Turns itself into a server that ends when its supervisor does.

Run by path with ``python -I -S``, standard library only, so that it costs milliseconds::

    launch.py SUPERVISOR_PID DEATH_SIGNAL UID:GID|- COMMAND [ARGUMENT...]

A program of its own rather than a hook between fork and exec, which could deadlock, and because
dropping to another user would undo a death signal that was asked for before.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Drop privileges if told to, ask for the death signal, become the command.

    Raises:
        OSError: the user may not be changed, or the command not run.
    """
    supervisor, death_signal, owner, *command = sys.argv[1:]
    if owner != "-":
        uid, _, gid = owner.partition(":")
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(supervisor):
        sys.exit("the supervisor is gone")
    # Python ignores this one, and what is ignored stays so over exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - that no shell comes in is the point


if __name__ == "__main__":
    main()
