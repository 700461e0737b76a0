"""The files of the page about deploying are what their readers understand."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]
from check_jsonschema.builtin_schemas import get_builtin_schema
from click.testing import CliRunner

from tokenweir.cli.serve import serve

pytestmark = pytest.mark.one_python

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()


def blocks(kind: str) -> list[str]:
    """The page's blocks of one kind."""
    return [each.partition("```")[0] for each in PAGE.split(f"```{kind}\n")[1:]]


def words_of_commands() -> list[list[str]]:
    """What each of the files starts."""
    unit = configparser.ConfigParser(strict=False)
    unit.read_string(blocks("ini")[0])
    [file] = blocks("dockerfile")
    command = next(line for line in file.splitlines() if line.startswith("CMD "))
    deployment = next(yaml.safe_load_all(blocks("yaml")[1]))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return [
        shlex.split(unit["Service"]["ExecStart"]),
        yaml.safe_load(command.removeprefix("CMD ")),
        container["args"],
    ]


@pytest.mark.parametrize("words", words_of_commands(), ids=["systemd", "docker", "kubernetes"])
def test_commands_are_understood(words: list[str]) -> None:
    """Each starts ``tokenweir serve`` with options that there are."""
    assert Path(words[0]).name == "tokenweir"
    assert words[1] == "serve"
    asked = CliRunner().invoke(serve, [*words[2:], "--help"])
    assert asked.exit_code == 0
    assert "No such option" not in CliRunner().invoke(serve, [*words[2:], "--max-queue=x"]).output


def test_kubernetes_and_compose_fit_together() -> None:
    """Names, labels and ports meet, and a server has more time to stop than it takes."""
    compose: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    server = compose["services"]["server"]
    assert set(server["depends_on"]) <= set(compose["services"])
    assert server["stop_grace_period"] == "40s"
    deployment, service = yaml.safe_load_all(blocks("yaml")[1])
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    [container] = template["spec"]["containers"]
    [port] = container["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["containerPort"] == 2024
    assert container["readinessProbe"]["httpGet"] == {"path": "/ok", "port": 2024}
    assert template["spec"]["terminationGracePeriodSeconds"] > 20


def test_kubernetes_knows_all_of_it() -> None:
    """Each document is one of Kubernetes' schema, in which no unknown field is let pass."""
    documents = list(yaml.safe_load_all(blocks("yaml")[1]))
    version = kubernetes_validate.latest_version()
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    [container] = documents[0]["spec"]["template"]["spec"]["containers"]
    container["readinesProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(documents[0], version, strict=True)


def test_compose_knows_all_of_it() -> None:
    """The file is one of the Compose Specification's schema."""
    schema = get_builtin_schema("vendor.compose-spec")
    compose = yaml.safe_load(blocks("yaml")[0])
    jsonschema.validate(compose, schema)
    compose["services"]["server"]["stop_grace_time"] = "40s"
    with pytest.raises(jsonschema.ValidationError, match="stop_grace_time"):
        jsonschema.validate(compose, schema)


def complaints(unit: str, folder: Path) -> list[str]:
    """What systemd says of a unit, but that its programs are not here."""
    file = folder / "tokenweir.service"
    file.write_text(unit)
    verify = ["systemd-analyze", "verify", "--man=no", str(file)]
    said = subprocess.run(verify, capture_output=True, text=True, timeout=60).stderr.splitlines()
    return [line for line in said if file.name in line and "is not executable" not in line]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_knows_all_of_it(tmp_path: Path) -> None:
    """No key of the unit is unknown to systemd, and no value ignored."""
    [unit] = blocks("ini")
    assert complaints(unit, tmp_path) == []
    [wrong] = complaints(unit.replace("TimeoutStopSec", "TimeoutStopSeconds"), tmp_path)
    assert "TimeoutStopSeconds" in wrong
    [wrong] = complaints(unit.replace("Restart=always", "Restart=sometimes"), tmp_path)
    assert "sometimes" in wrong
