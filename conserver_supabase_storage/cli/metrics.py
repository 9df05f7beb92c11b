"""The command for Prometheus: what it scrapes."""

import os
import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigurationError
from .common import Config, Given, Name, errors, options_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    from ..options import Options

_LAST_PORT = 65_535


def metrics(
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Serve /metrics here, until Ctrl-C or SIGTERM."
        ),
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Print the metrics once, as for the node exporter's textfile."),
    ] = False,
    workers_only: Annotated[
        bool,
        typer.Option(
            "--workers-only",
            help="Only what workers counted in PROMETHEUS_MULTIPROC_DIR: asks no server and needs "
            "no options. For a sidecar of each worker, beside one exporter for the servers.",
        ),
    ] = False,
    forget_dead: Annotated[
        bool,
        typer.Option(
            "--forget-dead",
            help="Remove the gauges of workers that are gone from PROMETHEUS_MULTIPROC_DIR. Only "
            "where this command sees the workers' process ids.",
        ),
    ] = False,
    config: Config = None,
    storage: Name = None,
    given: Given = None,
) -> None:
    """Tell Prometheus how the storage is: Supabase, Redis, the spool, the tables and the schema.

    Where PROMETHEUS_MULTIPROC_DIR is set, also what the workers counted that share it. The servers
    are asked when somebody scrapes, within 5 s, and at most every 5 s.

    ```sh
    conserver-supabase-storage metrics --listen 127.0.0.1:9877
    ```
    """
    if once == (listen is not None):
        raise typer.BadParameter("give --listen HOST:PORT, or --once")
    from ..options import Options  # noqa: PLC0415  a probe does not wait for it

    address = _address(listen) if listen is not None else None
    with errors():
        options = None if workers_only else Options.parse(options_of(config, storage, given))
        registry = _registry(options, forget_dead=forget_dead)
        if address is None:
            from prometheus_client import generate_latest  # noqa: PLC0415  an extra

            typer.echo(generate_latest(registry).decode(), nl=False)
            return
        _serve(address, registry)


def _address(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise typer.BadParameter(
            "must be HOST:PORT, such as 127.0.0.1:9877 or [::1]:9877", param_hint="--listen"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def _registry(options: "Options | None", *, forget_dead: bool) -> "CollectorRegistry":
    from ..telemetry.prometheus import VARIABLE  # noqa: PLC0415

    # Away before prometheus_client looks: what this process does is none of the workers' counts.
    folder = os.environ.pop(VARIABLE, None)
    try:
        from prometheus_client import CollectorRegistry  # noqa: PLC0415  an extra

        from .. import exporter  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "metrics needs prometheus_client: pip install 'conserver-supabase-storage[prometheus]'"
        ) from None

    collectors: list[Collector] = []
    if options is not None:
        collectors.append(exporter.ServersCollector(options))
    if folder:
        collectors.append(exporter.WorkersCollector(folder, forget_dead=forget_dead))
    elif options is None or forget_dead:
        raise ConfigurationError(
            f"--workers-only and --forget-dead need {VARIABLE}, the workers' own"
        )
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def _serve(address: tuple[str, int], registry: "CollectorRegistry") -> None:
    from prometheus_client import start_http_server  # noqa: PLC0415  an extra

    host, port = address
    # SIGTERM ends it in good order too; and a shell that starts it in the background has SIGINT
    # ignored, which is put right here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(f"--listen {host}:{port}: {error.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"Metrics are at http://{shown}:{server.server_port}/metrics", err=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
