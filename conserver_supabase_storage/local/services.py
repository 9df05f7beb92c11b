"""The servers of one stack while they run: started, stopped, frozen, watched."""

import signal
import threading
import time
from typing import Literal

from .errors import LocalSupabaseError
from .plan import Plan
from .ports import port_is_free
from .processes import Supervisor, log_tail

ServiceName = Literal["postgres", "postgrest", "redis", "gateway"]

_START_ATTEMPTS = 5


class Services:
    """What a stack can do with each of its servers by name; a service keeps its port."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._supervisor: Supervisor | None = None
        self._plan: Plan | None = None

    def stop_service(self, name: ServiceName, *, kill: bool = False) -> None:
        """Stop one server, with `kill` by SIGKILL to it and all of its processes.

        Raises:
            LocalSupabaseError: it isn't running.
        """
        with self._lock:
            if name not in self._running.running():
                raise LocalSupabaseError(f"{name} is stopped already")
            self._running.stop(name, kill=kill)

    def start_service(self, name: ServiceName, *, wait: bool = True) -> None:
        """Start a stopped server again, on the port that it had.

        Args:
            name: which server.
            wait: whether to wait until it answers, which PostgREST does only with Postgres.

        Raises:
            LocalSupabaseError: it runs already or doesn't come up.
        """
        with self._lock:
            if name in self._running.running():
                raise LocalSupabaseError(f"{name} runs already")
            server = self._planned.servers[name]
            self._running.start(server)
            if wait and not self._running.wait_until_ready(server):
                self._running.stop(name)
                raise LocalSupabaseError(f"{name} ended at once.{log_tail(server.log)}")

    def pause_service(self, name: ServiceName) -> None:
        """Freeze all processes of a server (SIGSTOP): it accepts connections, and is silent."""
        self._running.signal(name, signal.SIGSTOP)

    def resume_service(self, name: ServiceName) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._running.signal(name, signal.SIGCONT)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until all running servers answer, PostgREST with a connection to Postgres.

        PostgREST tries to reconnect after 1, 2, 4 ... seconds, at most 32.

        Raises:
            LocalSupabaseError: one doesn't within `timeout` seconds, or has ended.
        """
        deadline = time.monotonic() + timeout
        for name in self._running.running():
            if not self._running.wait_until_ready(
                self._planned.servers[name], max(0.0, deadline - time.monotonic())
            ):
                raise LocalSupabaseError(
                    f"{name} has ended.{log_tail(self._planned.servers[name].log)}"
                )

    def check(self) -> None:
        """See that nothing has ended by itself.

        Raises:
            LocalSupabaseError: a server has, or the supervisor; the text says which.
        """
        with self._lock:
            for name in self._running.running():
                if (code := self._running.wait(name)) is not None:
                    tail = log_tail(self._planned.servers[name].log)
                    raise LocalSupabaseError(f"{name} has ended (exit code {code}).{tail}")

    def _launch(self, name: str) -> None:
        self._running.start(self._planned.server(name))

    def _await(self, name: str) -> None:
        """Wait until a server answers; if another took its port meanwhile, move it elsewhere."""
        plan = self._planned
        for attempt in range(1, _START_ATTEMPTS + 1):
            server = plan.servers[name]
            if self._running.wait_until_ready(server):
                return
            code = self._running.stop(name)
            if attempt == _START_ATTEMPTS or all(map(port_is_free, server.ports)):
                raise LocalSupabaseError(f"{name} ended (code {code}).{log_tail(server.log)}")
            plan.move(name)
            self._launch(name)

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise LocalSupabaseError("This local Supabase is not started")
        return self._supervisor

    @property
    def _planned(self) -> Plan:
        if self._plan is None:
            raise LocalSupabaseError("This local Supabase is not started")
        return self._plan
