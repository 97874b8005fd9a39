"""docker-compose.yaml, Dockerfile and .env.example: what the distributed stack promises, read from the files."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_kie.get_provider_info import get_provider_info
from compose.compose_stack import FRONT, NOT_TO_BE_HAD
from compose.images import THEIRS
from compose_file import COMPOSE, ComposeFile, ComposeRefused, interpolated, read_compose, read_env
from local_stack.env_file import MAKERS, with_secrets
from local_stack.settings import PROJECT

EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")
OURS = r"airflow-kie(-simulator)?:\d+\.\d+\.\d+"
PINNED = r"[a-z0-9./-]+:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?"
PROFILES = {"simulator", "local-s3", "public", "monitoring"}
ONE_SHOTS = {"init", "local-s3-connection", "simulator-connection", "demo"}
AIRFLOW = ("api-server", "scheduler", "dag-processor", "worker", "triggerer")


@pytest.fixture(scope="module")
def compose() -> ComposeFile:
    return read_compose(read_env(with_secrets(EXAMPLE)[0]))


@pytest.mark.parametrize(
    ("text", "put_in"),
    [
        ("${A}-${B:-x}-${C-y}", "a-x-"),
        ("${MISSING:-${A", None),
        ("$$A $${A}", "$A ${A}"),
        ("${MISSING}${MISSING-z}", "z"),
        ("$A", None),
    ],
)
def test_variables_are_put_in_as_the_compose_specification_says(text: str, put_in: str | None) -> None:
    values = {"A": "a", "B": "", "C": ""}
    if put_in is None:
        with pytest.raises(ComposeRefused):
            interpolated(text, values)
    else:
        assert interpolated(text, values) == put_in


@pytest.mark.parametrize("name", sorted(name for name in MAKERS if not name.startswith(("LOCAL", "SIM", "GRAF"))))
def test_the_stack_does_not_start_without_its_secrets(name: str) -> None:
    values = {**read_env(with_secrets(EXAMPLE)[0]), name: ""}
    with pytest.raises(ComposeRefused, match=rf"{name} is missing a value: run ./run secrets"):
        read_compose(values)


def test_no_secret_is_in_the_file(compose: ComposeFile) -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    assert re.findall(r"(?i)^ *\w*(?:password|secret|fernet_key)\w*: +(?!\$\{)\S.*$", text, re.M) == []


def test_nothing_but_the_ui_is_published_and_that_on_loopback(compose: ComposeFile) -> None:
    published = {name: service["ports"] for name, service in compose.services.items() if service.get("ports")}
    assert published.pop("api-server") == ["127.0.0.1:8080:8080"]
    assert published.pop("grafana") == ["127.0.0.1:3000:3000"]
    assert compose.services["grafana"]["profiles"] == ["monitoring"]
    assert {name: compose.services[name]["profiles"] for name in published} == {"callback-proxy": ["public"]}


def test_every_image_is_pinned_and_only_our_own_are_built(compose: ComposeFile) -> None:
    for name, service in compose.services.items():
        assert re.fullmatch(OURS if "build" in service else PINNED, service["image"]), name


def test_a_process_starts_when_what_it_needs_is_healthy(compose: ComposeFile) -> None:
    for name, service in compose.services.items():
        for needed, how in service.get("depends_on", {}).items():
            there = compose.services[needed]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in there, (name, needed)
            if how["condition"] == "service_completed_successfully":
                assert needed in ONE_SHOTS
            mine, theirs = set(service.get("profiles", ())), set(there.get("profiles", ()))
            assert theirs <= mine or how.get("required") is False, (name, needed)
    for name in AIRFLOW[1:]:
        assert compose.services[name]["depends_on"]["api-server"] == {"condition": "service_healthy"}
    assert set(compose.services["api-server"]["depends_on"]) == {"postgres", "redis", "init"}


def test_what_stays_up_has_a_health_check_a_memory_limit_and_is_restarted(compose: ComposeFile) -> None:
    for name, service in compose.services.items():
        if name in ONE_SHOTS:
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped"
            assert service["healthcheck"]["test"]
            assert service["deploy"]["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    "profiles",
    [set(some) for count in range(5) for some in itertools.combinations(sorted(PROFILES), count)],
    ids=lambda profiles: "+".join(sorted(profiles)) or "none",
)
def test_up_with_wait_takes_nothing_that_ends_by_itself_for_a_failed_process(
    compose: ComposeFile, profiles: set[str]
) -> None:
    """Compose waits for the end of what another service wants complete, and for the health of all else: an image's own
    check counts too, and a container that has ended is an error."""
    there = {
        name: service
        for name, service in compose.services.items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    }
    waited_for = {
        needed
        for service in there.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    healthy_while_it_runs = {
        name for name in ONE_SHOTS & there.keys() if there[name].get("healthcheck", {}).get("test") == ["CMD", "true"]
    }
    assert ONE_SHOTS & there.keys() <= waited_for | healthy_while_it_runs


def test_a_password_that_begins_with_a_dash_is_no_option(compose: ComposeFile) -> None:
    command = " ".join(compose.command("init"))
    assert '"--password=$AIRFLOW_ADMIN_PASSWORD"' in command.replace("$$", "$")  # one generated password in 64


def test_health_is_what_others_will_meet(compose: ComposeFile) -> None:
    postgres = compose.services["postgres"]["healthcheck"]["test"]
    assert postgres[:4] == ["CMD", "pg_isready", "--host", "127.0.0.1"]  # by TCP, as everybody else
    assert "-e" in compose.services["redis"]["healthcheck"]["test"]  # redis-cli ends with 0 on an error without it


def test_replicas_are_written_in_the_way_that_podman_compose_understands_too(compose: ComposeFile) -> None:
    replicated = {name: service["deploy"] for name, service in compose.services.items() if "replicas" in str(service)}
    assert {name: int(deploy["replicas"]) for name, deploy in replicated.items()} == {
        "scheduler": 1,
        "worker": 1,
        "triggerer": 2,
    }
    assert {deploy["mode"] for deploy in replicated.values()} == {"replicated"}


def test_all_services_share_the_one_network_and_only_named_volumes_or_the_projects_files(compose: ComposeFile) -> None:
    assert list(compose.raw["networks"]) == ["stack"]
    for service in compose.services.values():
        assert service["networks"] == ["stack"]
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (PROJECT / source).exists()
                assert volume.endswith(":ro")
            else:
                assert source in compose.raw["volumes"]


def test_airflow_processes_have_one_environment_and_no_rights_of_root(compose: ComposeFile) -> None:
    first = compose.environment(AIRFLOW[0])
    for name in AIRFLOW:
        assert compose.environment(name) == first
        assert compose.services[name]["cap_drop"] == ["ALL"]
        assert "user" not in compose.services[name]
        assert not [volume for volume in compose.services[name]["volumes"] if "plugins" in volume]


@pytest.mark.parametrize("name", ["s3", "statsd-exporter", "prometheus", "grafana", "callback-proxy", *AIRFLOW])
def test_what_does_not_change_its_user_has_no_right_to(compose: ComposeFile, name: str) -> None:
    assert compose.services[name]["cap_drop"] == ["ALL"]
    assert compose.services[name]["security_opt"] == ["no-new-privileges:true"]


def test_a_login_is_required(compose: ComposeFile) -> None:
    environment = compose.environment("api-server")
    assert environment["AIRFLOW__CORE__AUTH_MANAGER"].endswith(".FabAuthManager")
    assert not [name for name in environment if "ALL_ADMINS" in name]


def test_profiles_are_those_that_the_page_names(compose: ComposeFile) -> None:
    profiles = {profile for service in compose.services.values() for profile in service.get("profiles", ())}
    page = (PROJECT / "docs" / "distributed.md").read_text(encoding="utf-8")
    assert {profile for profile in profiles if f"`{profile}`" not in page} == set()
    assert profiles == PROFILES


def options_of(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in environment:
        if name.startswith("AIRFLOW__"):
            section, _, option = name.removeprefix("AIRFLOW__").partition("__")
            yield section.lower(), option.lower()


def test_every_option_that_is_set_exists(compose: ComposeFile) -> None:
    import airflow
    from airflow.providers.celery.get_provider_info import get_provider_info as celery

    core = Path(airflow.__file__).parent / "config_templates" / "config.yml"
    known: dict[str, Any] = {**yaml.safe_load(core.read_text()), **celery()["config"], **get_provider_info()["config"]}
    for section, option in options_of(compose.environment("worker")):
        if section == "celery_broker_transport_options":
            continue  # its options are the broker's own
        assert option in known[section]["options"], (section, option)


def test_the_values_for_kubernetes_set_what_the_compose_file_sets(compose: ComposeFile) -> None:
    values = yaml.safe_load((PROJECT / "docs" / "helm-values.yaml").read_text(encoding="utf-8"))
    environment = compose.environment("worker")
    for section, options in values["config"].items():
        for option, value in options.items():
            if option != "bucket":
                assert environment[f"AIRFLOW__{section}__{option}".upper()] == str(value)


def test_the_connections_that_the_stack_makes_have_the_fields_that_exist(compose: ComposeFile) -> None:
    for service, variable in (("init", "KIE_CONNECTION"), ("simulator-connection", "CONNECTION")):
        ((name, connection),) = json.loads(compose.environment(service)[variable]).items()
        assert (name, connection["conn_type"]) == ("kie_default", "kie")
        assert set(connection["extra_dejson"]) <= set(get_provider_info()["connection-types"][0]["conn-fields"])
        assert connection["extra_dejson"]["limiter_conn_id"] == "kie_limiter"
    assert "AIRFLOW_CONN_KIE_LIMITER" in compose.environment("worker")


def test_every_variable_of_the_example_is_one_of_the_compose_file_and_the_other_way_round() -> None:
    example = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.M))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]+)", COMPOSE.read_text(encoding="utf-8")))
    assert example == used


# --- the check that brings the stack up: ./run test compose ---


def test_every_image_of_others_has_a_stand_in_but_grafanas(compose: ComposeFile) -> None:
    others = {s["image"] for s in compose.services.values() if not s["image"].startswith("airflow-kie")}
    assert {compose.services[service]["image"] for service in THEIRS.values()} == {
        image for image in others if not image.startswith("grafana/")
    }
    assert {compose.services[name]["image"].partition("/")[0] for name in NOT_TO_BE_HAD} == {"grafana"}


def test_podman_starts_in_the_order_of_the_compose_file(tmp_path: Path) -> None:
    """With an older podman, and a container that gets healthy at the second check."""
    called = tmp_path / "called"
    podman = tmp_path / "podman"
    podman.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> "{called}"\n'
        'case "$1" in\n'
        "--version) echo podman version 4.3.1 ;;\n"
        f'healthcheck) [ "$(grep -c health "{called}")" -ge 2 ] ;;\n'
        "esac\n"
    )
    podman.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    calls = (["--version", ""], ["wait", "--condition=healthy", "db"], ["create", "--requires=db", "--name", "web"])
    shown = [subprocess.run([FRONT, *call], env=environment, check=True, capture_output=True).stdout for call in calls]
    assert shown[0] == b"podman version 4.6.0\n"
    assert called.read_text().splitlines() == ["--version", *["healthcheck run db"] * 2, "create --name web"]


# --- the image ---


def test_the_image_holds_the_lock_a_wheel_no_compiler_and_no_root() -> None:
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    assert "PIP_REQUIRE_HASHES=1" in lines
    assert "PIP_ONLY_BINARY=:all:" in lines
    assert "-r requirements-distributed.txt" in lines
    final = lines[lines.index("AS plain") :]
    assert re.findall(r"^USER (\S+)", final, re.M) == ["root", "airflow"]
    assert "for tool in cc gcc" in final
    assert "HEALTHCHECK" in final
    assert "pip install" not in final


def test_what_the_image_copies_is_let_through_and_secrets_are_not() -> None:
    let_through = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (PROJECT / "Dockerfile").read_text(), re.M)
    for source in " ".join(copied).split():
        assert any(entry.rstrip("/").startswith(source) for entry in let_through), source
    assert not [entry for entry in let_through if ".env" in entry or ".git" in entry]
    assert ".env\n" in (PROJECT / ".gitignore").read_text()


def test_everything_that_the_demo_and_the_simulator_import_is_let_through() -> None:
    program = "import sys, local_stack.distributed_demo, kie_simulator.__main__ as _; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    for module in done.stdout.split():
        if module.startswith(("local_stack.", "kie_simulator.")):
            file = Path(f"include/{module.replace('.', '/')}.py")
            assert {str(file), *map(str, file.parents)} & let_through, file


def test_the_lines_of_the_lock_that_build_the_wheel_are_all_there() -> None:
    dockerfile = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    lock = (PROJECT / "requirements-dev.txt").read_text(encoding="utf-8")
    for names in re.findall(r"locked '([^']+)'", dockerfile):
        for name in names.split("|"):
            assert re.search(rf"^{name}==\S+ ?\\\n    --hash", lock, re.M), name
