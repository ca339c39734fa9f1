"""Run the pages' JavaScript tests under Node and hand each result to pytest."""

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from kit.databases import absent

HERE = Path(__file__).parent


@cache
def run(file: str) -> tuple[frozenset[str], str]:
    """Run one file of tests under Node; return the names that passed and the whole output."""
    node = shutil.which("node") or absent("Node is not installed: the pages' logic is not executed")
    command = [node, "--test", "--test-reporter=tap", str(HERE / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    passed = re.findall(r"^\s*ok \d+ - (.+)$", done.stdout, re.MULTILINE)
    return frozenset(passed), done.stdout + done.stderr


@pytest.fixture
def under_node() -> Callable[[str, str], None]:
    """Assert that the test of this name in this file passes under Node."""

    def check(file: str, name: str) -> None:
        passed, output = run(file)
        assert name in passed, output

    return check
