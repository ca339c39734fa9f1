"""The template has a version, and the changelog begins with it."""

import json
import re

from bakes import ROOT


def test_the_changelog_begins_with_the_template_s_version() -> None:
    version = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))["_template_version"]
    versions = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert versions[0] == version
