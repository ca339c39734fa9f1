"""Storms: buyers, faults and kills, and a judge over the books afterwards.

`python -m tests.chaos` finds the shop in the template's folder.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]
