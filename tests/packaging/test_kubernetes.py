"""The manifests of deploy/kubernetes: valid, in step with each other and with the commands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from conserver_supabase_storage import Options
from conserver_supabase_storage import __name__ as module
from conserver_supabase_storage.cli import app

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
MANIFESTS: list[dict[str, Any]] = [
    manifest for file in FILES for manifest in yaml.safe_load_all(file.read_text("utf-8"))
]
VERSIONS = ("1.31", "1.33", kubernetes_validate.latest_version())


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] == kind}


def pods() -> Iterator[dict[str, Any]]:
    for kind in ("Deployment", "Job"):
        for manifest in of_kind(kind).values():
            yield manifest["spec"]["template"]["spec"]


def containers() -> list[dict[str, Any]]:
    return [container for pod in pods() for container in pod["containers"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}"
)
def test_the_api_takes_it(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_manifest_is_refused() -> None:
    deployment = yaml.safe_load((FOLDER / "workers.yaml").read_text("utf-8"))
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_what_is_referred_to_is_there() -> None:
    maps, secrets = of_kind("ConfigMap"), of_kind("Secret")
    for container in containers():
        for source in container.get("envFrom", ()):
            for reference, found in (("configMapRef", maps), ("secretRef", secrets)):
                assert reference not in source or source[reference]["name"] in found
        for variable in container.get("env", ()):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["key"] in secrets[reference["name"]]["stringData"]
    for pod in pods():
        mounted = {
            m["name"]: m["mountPath"] for c in pod["containers"] for m in c.get("volumeMounts", ())
        }
        for volume in pod.get("volumes", ()):
            assert volume["name"] in mounted
            if "configMap" not in volume:
                continue
            files = maps[volume["configMap"]["name"]]["data"]
            config = Path(maps["conserver-supabase-environment"]["data"]["CONSERVER_CONFIG_FILE"])
            assert config.parent == Path(mounted[volume["name"]])
            assert config.name in files
    deployment = of_kind("Deployment")["conserver-worker"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()


def test_its_config_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in of_kind("Secret")["conserver-supabase"]["stringData"].items():
        monkeypatch.setenv(name, value)
    config = yaml.safe_load(of_kind("ConfigMap")["conserver-supabase"]["data"]["config.yml"])
    (storage,) = config["storages"].values()
    assert storage["module"] == module
    assert Options.parse(storage["options"]) == Options.parse(None)


def test_only_the_migrations_know_the_databases_url() -> None:
    workers = of_kind("Secret")["conserver-supabase"]["stringData"]
    assert "DATABASE_URL" not in workers


@pytest.mark.parametrize("container", containers(), ids=lambda c: c["name"])
def test_each_container_is_bounded(container: dict[str, Any]) -> None:
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def commands() -> list[list[str]]:
    found = [container["command"] for container in containers() if "command" in container]
    probes = ("livenessProbe", "readinessProbe")
    asked = [c[p] for c in containers() for p in probes if p in c]
    return found + [probe["exec"]["command"] for probe in asked if "exec" in probe]


def test_workers_count_where_the_container_beside_them_reads() -> None:
    pod = of_kind("Deployment")["conserver-worker"]["spec"]["template"]["spec"]
    place = of_kind("ConfigMap")["conserver-supabase-environment"]["data"][
        "PROMETHEUS_MULTIPROC_DIR"
    ]
    assert len(pod["containers"]) == 2
    for container in pod["containers"]:
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["metrics"] == place
    worker, metrics = pod["containers"]
    assert metrics["image"] == worker["image"]
    # It takes workers for dead whose ids it does not see.
    assert "--forget-dead" in metrics["command"]
    assert pod["shareProcessNamespace"] is True
    # It needs no key.
    assert not [source for source in metrics["envFrom"] if "secretRef" in source]


@pytest.mark.parametrize("name", ["conserver-worker", "conserver-supabase-exporter"])
def test_prometheus_is_told_the_port_that_is_listened_on(name: str) -> None:
    template = of_kind("Deployment")[name]["spec"]["template"]
    (container,) = [c for c in template["spec"]["containers"] if "metrics" in c.get("command", ())]
    (port,) = container["ports"]
    listen = container["command"][container["command"].index("--listen") + 1]
    assert listen.rpartition(":")[2] == str(port["containerPort"])
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    assert container["livenessProbe"]["tcpSocket"]["port"] == port["name"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_each_command_is_one_of_ours_and_takes_its_arguments(
    command: list[str], tmp_path: Path
) -> None:
    program, name, *arguments = command
    assert program == "conserver-supabase-storage"
    group = typer.main.get_group(app)
    group.commands[name].make_context(name, arguments)
