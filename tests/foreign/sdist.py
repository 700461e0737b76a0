"""The tests of another package, from the sdist of the version that is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest

__all__ = ["failures", "unpacked"]

ROOT = Path(__file__).parents[2]


def unpacked(package: str, *extra: str) -> Path:
    """The folder of the package's sdist, without the package itself; with ``extra`` beside it.

    Skips the test where there is no network to fetch them, and says so.

    Args:
        package: A package that is installed.
        extra: Requirements of its tests that are not installed here, each without its own.
    """
    name = f"{package}-{version(package)}"
    folder = ROOT / ".venvs" / "foreign" / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    if not folder.exists():
        made = folder.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        sdist = [f"{package}=={version(package)}", "--no-deps", f"--no-binary={package}"]
        _uv("tool", "run", "pip", "download", "--quiet", *sdist, "--dest", str(made))
        python = ["--python", sys.executable, "--target", str(made / "extra")]
        _uv("pip", "install", "--quiet", "--no-deps", *python, *extra)
        [archive] = made.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(made, filter="data")
        archive.unlink()
        [source] = made.glob(f"{package.replace('-', '_')}-*")
        shutil.rmtree(source / package.replace("-", "_"))  # the installed one is to be tested
        source.rename(made / "source")
        made.rename(folder)
    return folder


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    # As in scripts/setup: a company's proxy has a certificate of its own.
    environ = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    try:
        ran = subprocess.run(
            [uv, *arguments], cwd=ROOT.parent, env=environ, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("needs uv, to fetch another package's tests")
    if ran.returncode:
        pytest.skip(f"uv {arguments[0]} failed; is there a network? {ran.stderr[-500:]}")


def failures(
    folder: Path, environ: Mapping[str, str], options: Iterable[str], tests: Iterable[str]
) -> set[str]:
    """The tests that fail, as ``file::name[parameters]``, of those in a folder of ``unpacked``."""
    report = folder / "report.xml"
    command = [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "--tb=short", "-o", "addopts="]
    ran = subprocess.run(
        [*command, f"--junitxml={report}", *options, *tests],
        cwd=folder / "source",
        env=dict(environ),
        capture_output=True,
        text=True,
    )
    assert ran.returncode in (0, 1), ran.stdout[-3_000:] + ran.stderr[-3_000:]
    return {
        _node_id(case.get("classname", ""), case.get("name", ""))
        for case in ElementTree.parse(report).iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }


def _node_id(place: str, name: str) -> str:
    """What selects a test: ``tests/test_a.py::TestB::test_c[1]`` for ``tests.test_a.TestB``."""
    parts = place.split(".")
    classes = [part for part in parts if part.startswith("Test")]
    return "::".join(["/".join(parts[: len(parts) - len(classes)]) + ".py", *classes, name])
