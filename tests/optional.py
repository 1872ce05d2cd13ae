"""Libraries that not every environment has: `from tests.optional import torch`.

Where one is missing, the tests that touch it are skipped.
"""

import importlib

import pytest


class Missing:
    """Stands for a library that is not installed."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        if attribute.startswith(("_", "pytest")):  # as pytest looks at all that a module holds
            raise AttributeError(attribute)
        pytest.skip(f"needs {self._name}")


def _find(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return Missing(name)


torch = _find("torch")
