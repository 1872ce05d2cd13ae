"""What does not fit in memory is refused before any is taken."""

import os

import pytest

from jaxsurf import memory
from jaxsurf.errors import UserError


def test_what_is_larger_than_memory_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "total_bytes", lambda: 3 * 2**29)
    memory.check_fits(3 * 2**29, origin="it", cure="wait")
    line = r"it takes 2,048\.5 GiB unpacked, but this machine has 1\.5 GiB of memory; wait"
    with pytest.raises(UserError, match=line):
        memory.check_fits(2**41 + 2**29, origin="it", cure="wait")


def test_the_memory_of_the_machine_is_what_the_system_says(monkeypatch):
    pages = {"SC_PHYS_PAGES": 7, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert memory.total_bytes() == 28672


def test_where_the_system_does_not_tell_everything_is_tried(monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert memory.total_bytes() is None
    memory.check_fits(2**80, origin="it", cure="wait")
