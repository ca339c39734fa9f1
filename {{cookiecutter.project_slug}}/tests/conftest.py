"""What every test of a shop may ask for is in kit/fixtures.py."""

import pytest

pytest.register_assert_rewrite("kit")
pytest_plugins = ("kit.fixtures",)
