"""Refuse bad answers, a dirty template folder, and a bake into a folder that exists.

Cookiecutter runs this inside the project folder before it copies anything: a new folder is
still empty, and with -f a living shop is still whole. Standard library only.
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NoReturn

# The answers arrive as data: quotes, backslashes and code in a name stay inside the JSON.
ANSWERS: dict[str, Any] = json.loads(
    r"""
{{ cookiecutter | tojson }}
"""
)
CHOICES = {
    "channels": ("wechat", "all"),
    "frontends": ("both", "miniprogram", "h5", "none"),
}
PRIVATE = (
    *(".env", ".env.*", ".venv", "venv", "var", "certs", "tls"),
    *("*.db", "*.db-*", "*.sqlite3", "apiclient_*"),
)
CACHES = ("__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
PROJECT = "{" * 2 + "cookiecutter.project_slug" + "}" * 2


def refuse(what: str, chinese: str, english: str) -> NoReturn:
    """Print three lines on stderr, the first one names what is wrong, and stop the bake."""
    sys.stderr.write(f"{what}\n  {chinese}\n  {english}\n")
    raise SystemExit(1)


def some(names: list[str]) -> str:
    """Join the first five names."""
    return ", ".join(names[:5]) + (f" (+ {len(names) - 5})" if len(names) > 5 else "")


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a file or folder name fits one of the patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def check_answers(name: str, slug: str) -> None:
    """Refuse a name nobody can print, a folder name that needs quoting, an unknown choice."""
    unprintable = any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
    if not name.strip() or len(name) > 80 or unprintable:
        refuse(
            f"project_name: {name[:80]!r}",
            "店名为 1 到 80 个字，只占一行，例如 小店 Shop",
            "The name has 1 to 80 characters on one line, such as: My Shop",
        )
    if len(slug) > 60 or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug):
        refuse(
            f"project_slug: {slug[:80]!r}",
            "文件夹名只用小写字母、数字和连字符，最多 60 个，例如 my-shop",
            "The folder name has lower-case letters, digits and single hyphens, such as: my-shop",
        )
    for question, choices in CHOICES.items():
        if (answer := str(ANSWERS[question])) not in choices:
            refuse(
                f"{question}: {answer[:80]!r}",
                f"请选其一：{', '.join(choices)}",
                f"Choose one of: {', '.join(choices)}",
            )


def template_folder(repo_dir: str) -> Path:
    """Find the template's project folder; a relative one counts from where cookiecutter started.

    Linux knows where cookiecutter stands now: in the template. Elsewhere PWD tells, when the
    caller kept it true, or the output folder, when no -o was given.
    """
    starts = [os.environ.get("PWD", os.curdir), ANSWERS.get("_output_dir", os.curdir)]
    places = [os.path.join(start, repo_dir) for start in starts]
    if not os.path.isabs(repo_dir):
        places.insert(0, f"/proc/{os.getppid()}/cwd")
    for place in places:
        folder = Path(os.path.realpath(place), PROJECT)
        if os.path.isdir(folder) and os.path.isfile(folder.parent / "cookiecutter.json"):
            return folder
    refuse(
        f"template: {repo_dir}",
        "找不到模板所在的文件夹，请给出完整路径",
        "Its folder cannot be found from here: give the full path",
    )


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Walk the template's own folders, without caches and what is private."""
    for here, folders, files in os.walk(folder):
        yield Path(here).relative_to(folder), sorted(folders), sorted(files)
        folders[:] = [name for name in folders if not matches(name, CACHES + PRIVATE)]


def check_template(template: Path) -> None:
    """Refuse a template that holds secrets, data or an environment: a bake copies all it finds."""
    found = [
        (here / name).as_posix()
        for here, folders, files in walk(template)
        for name in folders + files
        if matches(name, PRIVATE) and name != ".env.example"
    ]
    if found:
        refuse(
            f"template: {some(found)}",
            f"这些文件不该进入新项目，请先移走：{template}",
            f"These must not reach a shop. Move them out of {template}",
        )


def check_target(folder: Path) -> None:
    """Refuse to bake into a shop that exists, with -f, too: nothing of it is ever changed."""
    if any(folder.iterdir()):
        refuse(
            f"project_slug: {folder.name}",
            "这个文件夹里已有项目。请用 -o 生成到旁边，再合并",
            "This folder has a project already: bake beside it with -o, and merge",
        )


def main() -> None:
    """Check everything in the order in which a person can mend it."""
    sys.stderr.reconfigure(errors="replace")  # type: ignore[union-attr]
    check_answers(str(ANSWERS["project_name"]), str(ANSWERS["project_slug"]))
    check_target(Path.cwd())
    if repo_dir := ANSWERS.get("_repo_dir"):  # cruft bakes from a clone, which is clean
        check_template(template_folder(repo_dir))


if __name__ == "__main__":
    main()
