"""The three commands, with a .venv whose pip and shop only tell what they were asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_NAME = "{{cookiecutter.project_slug}}"
FAKE = f"""#!/bin/sh
case "$2" in
  pip|pytest|ruff|mypy) echo "$@" >> "$LOG" ;;
  shop) echo "$@ in $PWD" >> "$LOG" ;;
  *) exec "{sys.executable}" "$@" ;;
esac
"""


@pytest.fixture
def clone(template: Path, home: Path) -> Path:
    """A template in a folder whose name has a space, with an installed .venv that is not real."""
    folder = template.rename(template.parent / "我的 shop dir")
    fake = folder / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text(FAKE)
    fake.chmod(0o755)
    (folder / ".venv" / ".bake").touch()
    return folder


def make(clone: Path, *words: str) -> list[str]:
    """Run make and return what was asked of pip, pytest and the shop since the last time."""
    log = clone / ".venv" / "log"
    log.write_text("")
    environment = {**os.environ, "LOG": str(log), "HOME": str(clone), "MAKEFLAGS": ""}
    subprocess.run(["make", *words], cwd=clone, env=environment, check=True, timeout=60)
    return log.read_text().splitlines()


def test_demo_installs_once_and_runs_in_the_baked_shop(clone: Path) -> None:
    first = make(clone, "demo", "ARGS=--once --port 8001")
    assert [line.split()[1] for line in first] == ["pip", "shop"]
    assert first[-1] == f"-m shop demo --once --port 8001 in {clone}/build/my-shop"
    assert [line.split()[1] for line in make(clone, "demo")] == ["shop"]


def test_nothing_is_ever_installed_from_the_template_folder(clone: Path) -> None:
    asked = [
        line for line in make(clone, "demo") + make(clone, "test") if line.startswith("-m pip")
    ]
    assert len(asked) == 2
    assert all("build/my-shop" in line and PROJECT_NAME not in line for line in asked)


def test_test_runs_the_shop_s_tests_and_the_template_s(clone: Path) -> None:
    asked = [line for line in make(clone, "test", "ARGS=-x") if "pytest" in line]
    assert asked == ["-m pytest -m not thorough -n auto --dist worksteal -x"] * 2
    asked = [line for line in make(clone, "test-all", "ARGS=-x") if "pytest" in line]
    assert asked == ["-m pytest -n auto --dist worksteal -x"] * 2
    assert "-m pip" not in " ".join(make(clone, "demo"))


def test_an_edit_in_build_survives_until_the_template_changes(clone: Path) -> None:
    make(clone, "demo")
    catalogue = clone / "build" / "my-shop" / "shop" / "catalogue.py"
    catalogue.write_text("mine")
    make(clone, "demo")
    assert catalogue.read_text() == "mine"
    os.utime(clone / PROJECT_NAME / "shop" / "app.py")
    make(clone, "demo")
    assert catalogue.read_text() != "mine"
    before = clone / "build" / "before" / "shop" / "catalogue.py"
    assert before.read_text() == "mine"


def test_a_file_deleted_from_the_template_leaves_the_baked_shop(clone: Path) -> None:
    extra = clone / PROJECT_NAME / "shop" / "extra.py"
    extra.write_text("")
    make(clone, "demo")
    assert (clone / "build" / "my-shop" / "shop" / "extra.py").exists()
    extra.unlink()
    make(clone, "demo")
    assert not (clone / "build" / "my-shop" / "shop" / "extra.py").exists()


def test_without_a_fitting_python_one_line_says_what_is_needed(clone: Path) -> None:
    (clone / ".venv" / ".bake").unlink()
    done = subprocess.run(
        ["make", "demo", "PYTHON="], cwd=clone, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "Python 3.11+ with venv is needed" in done.stdout
    assert not (clone / "build").exists()
