"""The lock file fits pyproject.toml, and pins every package by version and hash."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bakes import PROJECT

LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
PINNED = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", LOCK, re.M))


def test_every_dependency_and_extra_of_production_is_pinned_as_pyproject_allows() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["postgres"], *extras["mysql"]]
    for text in wanted:
        requirement = Requirement(text)
        version = PINNED[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text


def test_every_package_has_hashes_and_no_address() -> None:
    packages = re.split(r"^(?=[a-z])", LOCK, flags=re.M)[1:]
    assert len(packages) == len(PINNED)
    assert all("--hash=sha256:" in package for package in packages)
    assert "://" not in LOCK
