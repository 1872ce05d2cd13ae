"""Benchmarks: figures are what was timed, baselines do the same work, every row runs in small."""

import json
import sys

import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline.benchmark import rows, suites
from jaxsurf.pipeline.benchmark.rows import Contest

NAMES = {"stage", "size", "ours_s", "peer", "peer_s", "ratio", "peak_mib", "extrapolated"}


@pytest.fixture
def clock(monkeypatch):
    """Makes work that takes so long, the first time and then; time passes by that alone."""
    now = 0.0

    def work(*seconds, name=""):
        left = list(seconds)

        def do():
            nonlocal now
            now += left.pop(0) if len(left) > 1 else left[0]
            work.done.append(name)

        return do

    work.done = []
    monkeypatch.setattr(rows.time, "perf_counter", lambda: now)
    return work


def measure(work, baselines, **options):
    makes = {name: lambda parts=parts: parts for name, parts in baselines.items()}
    return list(rows.measure(Contest("path", "5 things", work, makes, **options)))


def test_both_are_warmed_up_and_then_take_turns(clock):
    (row,) = measure([clock(7, 2, 3, 1, name="a")], {"b": [clock(9, 5, 4, 6, name="b")]})
    assert clock.done == ["a", "a", "b", "b", "a", "b", "a", "b"]
    assert (row.ours_s, row.peer_s, row.ratio, row.extrapolated) == (1, 4, 4, False)


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "figures", "num_done"),
    [
        ((1, 2, 6, 50), (10, 20, 60, 9), {"median": True, "limit_s": 80}, (2, 20), 4),
        ((3,), [2] * 300, {"limit_s": 5, "scale": 2.0}, (6, 1200), 4),
    ],
)
def test_a_slow_baseline_does_a_part_which_stands_for_all(
    clock, ours, theirs, options, figures, num_done
):
    slow = [clock(seconds, name="b") for seconds in theirs]
    (row,) = measure([clock(seconds) for seconds in ours], {"b": slow}, **options)
    assert (row.ours_s, row.peer_s, row.extrapolated) == (*figures, True)
    assert clock.done.count("b") == num_done


def test_what_fails_or_is_missing_leaves_the_candidate_alone(clock):
    def fail(*_):
        raise ValueError("both differ")

    def lack():
        raise ModuleNotFoundError("no b")

    baselines = {"other": [clock(1)], "missing": [lack]}
    made = measure([clock(3)], baselines, agree=fail)
    found = [(row.peer, row.ours_s, row.peer_s, row.error) for row in made]
    assert found == [("other", 3, None, "ValueError: both differ"), ("missing", 3, None, "")]
    (row,) = measure([fail], {})
    assert (row.ours_s, row.error) == (None, "ValueError: both differ")


def fake_case(monkeypatch, *found, status=0):
    """Let every case be a process that prints these rows and ends with a status."""
    said = "".join(json.dumps(row) + "\\n" for row in found)
    code = f"import sys; sys.stdout.write('{said}'); sys.exit({status})"
    monkeypatch.setattr(suites, "_machine", lambda: {"accelerator": None, "versions": {}})
    monkeypatch.setattr(suites, "_command", lambda *_: [sys.executable, "-c", code])


ROW = {"stage": "decode", "size": "3 frames", "ours_s": 0.25, "peer": "b", "peer_s": 1.0}


def test_rows_are_written_and_measured_once(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW)
    text = suites.run("decode", tmp_path)
    assert "| decode | 3 frames | 0.250 | b | 1.00 | 4.00 |  |" in text
    (row,) = json.loads((tmp_path / rows.JSON).read_text())["rows"]
    assert set(row) >= NAMES
    assert row["ratio"] == 4.0
    fake_case(monkeypatch, {**ROW, "ours_s": 0.5})
    assert "0.250" in suites.run("decode", tmp_path)
    # At another scale all is measured anew.
    assert "0.500" in suites.run("decode", tmp_path, scale="rehearsal")


def test_a_case_that_ends_early_keeps_its_rows_and_is_measured_again(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW, status=3)
    text = suites.run("decode", tmp_path)
    assert "0.250" in text
    assert "failed: ended with status 3" in text
    # Cut off after a row, here by what is none.
    fake_case(monkeypatch, ROW, None)
    with pytest.raises(TypeError):
        suites.run("decode", tmp_path)
    fake_case(monkeypatch, {**ROW, "ours_s": 0.5})
    text = suites.run("decode", tmp_path)
    assert "0.500" in text
    assert "failed" not in text


def test_a_damaged_file_is_one_line(monkeypatch, tmp_path):
    fake_case(monkeypatch, ROW)
    machine = {"accelerator": None, "versions": {}, "scale": "full"}
    for wrong in ({}, {"rows": [3]}, {"rows": [{"speed": 1}]}):
        (tmp_path / rows.JSON).write_text(json.dumps({"machine": machine, **wrong}))
        with pytest.raises(UserError, match="is damaged"):
            suites.run("decode", tmp_path)


def test_where_jax_does_not_start_that_is_one_line(monkeypatch, tmp_path):
    code = "raise SystemExit('Unknown backend')"
    monkeypatch.setattr(suites, "_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(UserError, match="JAX does not start: Unknown backend; see JAX_PLATFORMS"):
        suites.run("decode", tmp_path)


def test_the_suite_for_accelerators_is_in_order_of_worth():
    assert suites.SUITES["gpu"][:2] == ("train-reference", "train-smooth")
    assert set().union(*suites.SUITES.values()) == set(suites.CASES)


@pytest.mark.core
@pytest.mark.parametrize("name", ["csr", "interpolation_mse"])
def test_a_row_runs_in_small(name):
    for asked in suites.CASES[name](True):
        for row in rows.measure(asked):
            assert not row.error
            assert row.ours_s > 0
            assert row.peer_s > 0 or row.peer


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["gpu", "graph"])
def test_every_row_runs_in_small(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    suites.run(suite, tmp_path / "out", scale="rehearsal")
    found = json.loads((tmp_path / "out" / rows.JSON).read_text())["rows"]
    assert {row["case"] for row in found} == set(suites.SUITES[suite])
    assert {row["error"] for row in found} == {""}
