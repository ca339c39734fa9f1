"""Every combination of answers is a project its owner can lint, type-check and test.

The shop that has everything runs its whole suite as the first half of `make test`; the other
extreme runs here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bakes import COMBINATIONS, Bake


def python(*words: str, cwd: Path) -> str:
    """Run `python -m …` of this interpreter and return what it printed; it has to succeed."""
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "RUFF_NO_CACHE": "true",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(cwd.parent / "hypothesis"),
    }
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_every_combination_lints(shops: dict[str, Path], frontends: str) -> None:
    python("ruff", "check", cwd=shops[frontends])
    python("ruff", "format", "--check", cwd=shops[frontends])


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_every_combination_type_checks(
    shops: dict[str, Path], frontends: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.getbasetemp().parent / "mypy"  # one for all workers
    python("mypy", "--cache-dir", str(cache), cwd=shops[frontends])


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_every_combination_collects_its_tests(shops: dict[str, Path], frontends: str) -> None:
    python("pytest", "--collect-only", "-q", "-p", "no:cacheprovider", cwd=shops[frontends])


@pytest.mark.thorough
def test_a_shop_without_pages_passes_its_whole_suite(bake: Bake) -> None:
    shop = bake(frontends="none", project_name="茶 'n' \"Tea\" \\")
    words = ("-m", "not thorough", "-q", "-n", "2", "-p", "no:cacheprovider")
    shown = python("pytest", *words, cwd=shop)
    sys.stdout.write(shown[-2000:])


def test_a_shop_needs_no_sandbox_to_build_its_server(bake: Bake, tmp_path: Path) -> None:
    """Deleting sandbox/ breaks the demo and tests, nothing else."""
    shop = bake(frontends="none")
    for path in sorted((shop / "sandbox").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (shop / "sandbox").rmdir()
    python("shop", "serve", "--help", cwd=shop)
