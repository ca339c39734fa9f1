"""A dirty template folder never reaches a shop, and a bake never destroys one."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException

from bakes import ROOT, Bake, Run, files

PROJECT_NAME = "{{cookiecutter.project_slug}}"
STRAY = [
    ".env",
    ".env.local",
    "shop/.env",
    ".venv/bin/python",
    "var/shop.db",
    "shop.db",
    "shop.db-wal",
    "shop/web/test.db",
    "shop/apiclient_key.pem",
]


def write(path: Path, text: str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", STRAY)
def test_a_template_folder_with_private_files_is_refused_by_name(
    template: Path, bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    write(template / PROJECT_NAME / name, "SHOP_APIV3_KEY=secret")
    with pytest.raises(FailedHookException):
        bake(template, out=tmp_path / "out")
    first = capfd.readouterr().err.splitlines()[0]
    named = {parent.as_posix() for parent in [Path(name), *Path(name).parents]}
    assert first.startswith("template: ")
    assert first.removeprefix("template: ") in named
    assert files(tmp_path / "out") == {}


@pytest.mark.parametrize("words", [["."], ["template"], ["./template/"], ["../{}/template"]])
def test_a_dirty_folder_is_found_from_wherever_cookiecutter_is_started(
    source: Path, template: Path, cli: Run, tmp_path: Path, words: list[str]
) -> None:
    write(template / PROJECT_NAME / ".env", "SHOP_APIV3_KEY=secret")
    cwd = template if words == ["."] else tmp_path
    for environment in ({}, {"PWD": str(cwd)}, {"PWD": str(source)}):
        name = words[0].format(tmp_path.name)
        done = cli(name, "--no-input", "-o", str(tmp_path / "o"), cwd=cwd, **environment)
        assert done.returncode == 1
        assert done.stderr.startswith("template: .env\n")


def test_a_bake_into_a_shop_is_refused_in_one_sentence_and_changes_nothing(
    bake: Bake, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = bake(out=tmp_path)
    write(shop / ".env", "SHOP_APIV3_KEY=ours")
    write(shop / "shop" / "catalogue.py", "PRODUCTS = ()\n")
    before = files(shop)
    with pytest.raises(FailedHookException):
        bake(out=tmp_path, again=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "project_slug: my-shop"
    assert "bake beside it with -o, and merge" in lines[2]
    assert files(shop) == before


def test_a_bake_into_a_shop_without_f_is_refused_too(
    cli: Run, source: Path, tmp_path: Path
) -> None:
    words = (str(source), "--no-input", "-o", str(tmp_path))
    assert cli(*words, cwd=tmp_path).returncode == 0
    before = files(tmp_path / "my-shop")
    again = cli(*words, cwd=tmp_path)
    assert again.returncode == 1
    assert "already exists" in again.stdout
    assert files(tmp_path / "my-shop") == before


def test_a_bake_whose_context_names_no_folder_works(bake: Bake, tmp_path: Path) -> None:
    """An update tool renders with a context of its own, from a clone that is clean."""
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    answers = {"project_name": "Tea", "project_slug": "tea", "channels": "all", "frontends": "h5"}
    rendered = hook.replace("{{ cookiecutter | tojson }}", json.dumps(answers))
    folder = tmp_path / "tea"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-"], cwd=folder, input=rendered, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_choice_of_the_questions_is_known_to_both_hooks() -> None:
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    choices, unchosen = constant("pre_gen", "CHOICES"), constant("post_gen", "UNCHOSEN")
    for question in ("channels", "frontends"):
        assert set(choices[question]) == set(questions[question])
        assert set(unchosen[question]) == set(questions[question])


def constant(hook: str, name: str) -> Any:
    """Return a constant of a hook, which is a template and cannot be imported."""
    source = (ROOT / "hooks" / f"{hook}_project.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{hook} has no {name}")


def test_caches_of_an_in_place_run_do_not_reach_a_shop(
    template: Path, bake: Bake, shops: dict[str, Path]
) -> None:
    project = template / PROJECT_NAME
    write(project / "shop" / "__pycache__" / "app.cpython-311.pyc", "{{ nothing }}")
    write(project / ".mypy_cache" / "3.11" / "cache.db", "{% broken")
    write(project / ".pytest_cache" / "README.md", "{{ nothing }}")
    write(project / "shop.egg-info" / "PKG-INFO", "{{ nothing }}")
    assert files(bake(template)) == files(shops["both"])
