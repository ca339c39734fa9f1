"""Where the template lies, what it can be baked into, and how a tree is read."""

import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_slug}}"
FRONTENDS = ("both", "miniprogram", "h5", "none")
COMBINATIONS = (*FRONTENDS, *(f"{frontends} all" for frontends in FRONTENDS))
LOCAL = (".git", ".venv", "build", "var", "__pycache__", ".*_cache", ".hypothesis", "node_modules")

Bake = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def files(folder: Path) -> dict[str, bytes]:
    """Read a tree: the path of each file inside folder, and its bytes."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
