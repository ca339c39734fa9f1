"""Bakes through cookiecutter's public API, without touching anybody's home folder."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
from cookiecutter.main import cookiecutter

from bakes import COMBINATIONS, LOCAL, ROOT, Bake, Run

pytest.register_assert_rewrite("kit")
pytest_plugins = ("running", "shell", "browser.walking", "foreign.sandbox_alone", "kit.fixtures")

#: rooms and files that start many processes, browsers, foreign packages or servers: `make test-all`
LONG = (
    "tests/baking/test_quality.py",
    "tests/baking/test_sources.py",
    "tests/browser/test_looks.py",
    "tests/browser/test_miniprogram_walk.py",
    "tests/browser/test_places.py",
    "tests/chaos/",
    "tests/copying/",
    "tests/docs/test_deploy.py",
    "tests/foreign/",
    "tests/rules/test_protocol.py",
    "tests/shop/test_crashes.py",
    "tests/shop/test_database_commands.py",
    "tests/shop/test_databases.py",
    "tests/shop/test_demo.py",
    "tests/shop/test_dev.py",
    "tests/shop/test_doctor_proves.py",
    "tests/shop/test_fuzz.py",
    "tests/shop/test_hangups.py",
    "tests/shop/test_other_processes.py",
    "tests/shop/test_outages.py",
    "tests/shop/test_replayed.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes long, before `-m` chooses."""
    for item in items:
        if item.path.relative_to(ROOT).as_posix().startswith(LONG):
            item.add_marker("thorough")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder for cookiecutter: its clones, its replays, its configuration."""
    folder = tmp_path_factory.mktemp("home")
    config = f"cookiecutters_dir: {folder}/clones\nreplay_dir: {folder}/replays\n"
    (folder / "config.yaml").write_text(config)
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it lies here, without what running it leaves behind. Read only."""
    folder = tmp_path_factory.mktemp("source") / "checkout-template"
    return Path(copytree(ROOT, folder, ignore=ignore_patterns(*LOCAL)))


@pytest.fixture(scope="session")
def bake(source: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Return a function that bakes a shop and returns its folder.

    `template` is a folder or URL, `out` the output folder (a new one by default), `again` means
    -f, `replay` a replay file; every other keyword is an answer.
    """

    def run(
        template: Path | str = source,
        out: Path | None = None,
        again: bool = False,
        replay: Path | None = None,
        **answers: str,
    ) -> Path:
        config = {"cookiecutters_dir": f"{home}/clones", "replay_dir": f"{home}/replays"}
        shop: str = cookiecutter(
            str(template),
            no_input=replay is None,
            extra_context=answers if replay is None else None,
            replay=str(replay) if replay else None,
            output_dir=str(out or tmp_path_factory.mktemp("out")),
            overwrite_if_exists=again,
            default_config=config,
        )
        return Path(shop)

    return run


@pytest.fixture(scope="session")
def shops(bake: Bake) -> dict[str, Path]:
    """Every combination of answers, baked once. Read only."""
    baked = {}
    for combination in COMBINATIONS:
        frontends, _, channels = combination.partition(" ")
        baked[combination] = bake(frontends=frontends, channels=channels or "wechat")
    return baked


@pytest.fixture
def template(source: Path, tmp_path: Path) -> Path:
    """A copy of the template that a test may dirty."""
    return Path(copytree(source, tmp_path / "template"))


@pytest.fixture(scope="session")
def cli(home: Path) -> Run:
    """Return a function that runs `python -m cookiecutter` in a folder, as a person would."""

    def run(*words: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "cookiecutter", *words],
            cwd=cwd,
            env={**os.environ, "COOKIECUTTER_CONFIG": f"{home}/config.yaml", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
        )

    return run
