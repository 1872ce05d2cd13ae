"""A benchmark measures every row apart, says what failed, and keeps what it has."""

import importlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from functools import partial

import pytest

from jaxsurf.errors import UserError
from jaxsurf.models.autoencoder import ModelConfig
from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.benchmark import measurement, process, rows, suites
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Parts, Row, Total
from jaxsurf.pipeline.benchmark.stages import decode, sweep

COLUMNS = ["stage", "size", "ours_s", "peer", "peer_s", "ratio", "peak_mib", "extrapolated"]
# A suite of its own, which processes of their own import.
SUITE = """
import os, time
from functools import partial
from jaxsurf.pipeline.benchmark.rows import Case, Contest, Total

def contest(peer=None):
    return Contest(ours=partial(time.sleep, 0.01), make_peer=peer)

def slow_peer():
    return partial(time.sleep, 0.03)

def hungry_peer():
    held = b"x" * 300_000_000
    return lambda: len(held)

def broken_peer():
    return lambda: 1 // 0

def broken():
    raise ValueError("a | bar\\nand two lines")

def killed():
    print("noise on standard output", flush=True)
    os.kill(os.getpid(), 9)

case = partial(Case, stage="nap")
CASES = [
    case(size="1", prepare=partial(contest, slow_peer), peer="sloth"),
    case(size="hungry", prepare=partial(contest, hungry_peer), peer="bear"),
    case(size="alone", prepare=contest),
    case(size="absent", prepare=partial(contest, slow_peer), peer="dodo", needs=("no_dodo",)),
    case(size="broken", prepare=broken, peer="sloth"),
    case(size="killed", prepare=killed),
    case(size="half", prepare=partial(contest, broken_peer), peer="egg"),
    case(size="7", prepare=contest),
    case(size="fast", prepare=contest, where="accelerator"),
    Total(stage="nap", size="1,000", parts=("1", "7"), times=100),
    Total(stage="nap", size="hopeless", parts=("1", "broken"), times=100),
]
"""
FACTS = {
    "cpu": "Abacus",
    "cores": 2,
    "memory_gib": None,
    "accelerator": None,
    "versions": {"python": "3.11"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the suite lies as a module."""
    root = tmp_path_factory.mktemp("suite")
    (root / "napping.py").write_text(SUITE)
    return root


@pytest.fixture
def suite(folder, monkeypatch):
    """Makes `nap` a suite, on a machine whose facts are known."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setitem(suites.SUITES, "nap", ("napping",))
    monkeypatch.setattr(process, "facts", lambda: FACTS)


@pytest.fixture
def measured(monkeypatch):
    """Measures rows without processes; returns the sizes of those that were."""
    done = []

    def measure(module, number, case):
        if case.size == measure.stop_at:
            raise KeyboardInterrupt
        done.append(case.size)
        made = partial(Row, stage=case.stage, ours_s=2.0, peer=case.peer, peak_mib=7.0)
        return [made(size=size) for size in case.sizes()], ""

    measure.stop_at = ""
    monkeypatch.setattr(process, "rows_of", measure)
    return done, measure


def saved(out):
    content = json.loads((out / "benchmarks.json").read_text())
    assert list(content) == ["machine", "rows"]
    return {row["size"]: row for row in content["rows"]}


def test_rows_are_measured_and_failures_told(suite, tmp_path):
    table = suites.run("nap", tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == table + "\n"
    found = saved(tmp_path)
    for row in found.values():
        assert [name for name in row if name != "error"] == COLUMNS
    errors = {size: row["error"] for size, row in found.items() if "error" in row}
    assert errors == {
        "broken": "ValueError: a | bar and two lines",
        "killed": "ended by SIGKILL, out of memory?",
        "half": "ZeroDivisionError: integer division or modulo by zero",
        "hopeless": "1 of the 2 rows that it is made of have no time",
    }
    first = found["1"]
    assert first["ours_s"] >= 0.01
    assert first["peer_s"] >= 0.03
    assert first["ratio"] == first["peer_s"] / first["ours_s"]
    # What the peer holds is not in our memory.
    assert found["hungry"]["peer_s"] is not None
    assert 5 < found["hungry"]["peak_mib"] < found["7"]["peak_mib"] + 100
    absent = found["absent"]
    assert (absent["peer"], absent["peer_s"], absent["ratio"]) == ("dodo", None, None)
    assert absent["ours_s"] >= 0.01
    assert found["half"]["ours_s"] >= 0.01
    assert found["half"]["peer_s"] is None
    whole = found["1,000"]
    assert whole["extrapolated"]
    assert whole["ours_s"] == pytest.approx(100 * (first["ours_s"] + found["7"]["ours_s"]))
    assert whole["peak_mib"] == max(first["peak_mib"], found["7"]["peak_mib"])
    assert "fast" not in found
    assert "they are for an accelerator:\n\n- nap: fast" in table
    for line in table.splitlines()[: 2 + len(found)]:
        assert line.count("|") == 8, line
    assert "| nap | broken | failed: ValueError: a / bar and two lines | sloth |  |  |  |" in table


def test_markdown_has_three_digits_and_the_machine(tmp_path):
    row = Row(stage="knn", size="5", ours_s=0.0123456, peer="faiss", peer_s=1234.5, peak_mib=987.6)
    whole = Row(stage="knn", size="6", ours_s=61.0, extrapolated=True)
    table = rows.write(tmp_path, FACTS, [row, whole], []).splitlines()
    assert table[2] == "| knn | 5 | 0.0123 | faiss | 1234 | 99995 | 988 |"
    assert table[3] == "| knn | 6 | 61.0 (extrapolated) |  |  |  |  |"
    assert table[-1] == "Machine: cpu Abacus, cores 2; python 3.11."
    assert rows.from_content(row.content) == row


def test_on_an_accelerator_its_rows_are_measured_too(suite, measured, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "facts", lambda: FACTS | {"accelerator": "1 x Fast"})
    table = suites.run("nap", tmp_path)
    assert "fast" in measured[0]
    assert "Not measured" not in table
    assert "accelerator 1 x Fast" in table


def test_an_interrupted_benchmark_keeps_its_rows_and_goes_on(suite, measured, tmp_path):
    done, measure = measured
    measure.stop_at = "broken"
    with pytest.raises(KeyboardInterrupt):
        suites.run("nap", tmp_path)
    begun = ["1", "hungry", "alone", "absent"]
    assert done == begun == list(saved(tmp_path))
    assert (tmp_path / "benchmarks.md").read_text().count("| nap |") == len(begun)
    # The peers of the first two, which are there, have no times yet: these are measured again.
    measure.stop_at = ""
    done.clear()
    suites.run("nap", tmp_path)
    assert done == ["1", "hungry", "broken", "killed", "half", "7"]
    assert len(saved(tmp_path)) == 10


def test_rows_of_another_machine_are_replaced_and_those_of_other_suites_kept(
    suite, measured, monkeypatch, tmp_path
):
    done, _ = measured
    other = Row(stage="knn", size="5", ours_s=1.0)
    rows.write(tmp_path, FACTS, [other], [])
    suites.run("nap", tmp_path)
    assert "5" in saved(tmp_path)
    # A package that came since changes nothing of what was measured; another version does.
    more = {"versions": FACTS["versions"] | {"faiss-cpu": "1"}}
    monkeypatch.setattr(process, "facts", lambda: FACTS | more)
    suites.run("nap", tmp_path)
    assert "5" in saved(tmp_path)
    assert done.count("alone") == 1
    newer = {"versions": {"python": "3.12", "faiss-cpu": "1"}}
    monkeypatch.setattr(process, "facts", lambda: FACTS | newer)
    suites.run("nap", tmp_path)
    assert "5" not in saved(tmp_path)
    rows.write(tmp_path, FACTS, [other], [])
    monkeypatch.setattr(process, "facts", lambda: FACTS | {"cores": 64})
    done.clear()
    suites.run("nap", tmp_path)
    assert "5" not in saved(tmp_path)
    assert "alone" in done


GOOD = {"stage": "nap", "size": "1"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "no 'rows' in it"),
        ({"rows": None}, "not iterable"),
        ({"rows": 3}, "not iterable"),
        ({"rows": {"a": 1}}, "'a' is no row"),
        ({"rows": [3]}, "3 is no row"),
        ({"rows": [GOOD, None]}, "None is no row"),
        ({"rows": [["stage", "nap"]]}, "is no row"),
        ({"rows": [{"stage": "nap"}]}, "missing 1 required .* 'size'"),
        ({"rows": [GOOD | {"no": 1}]}, "unexpected .* 'no'"),
        ({"rows": [GOOD | {"stage": None}]}, "stage of a row is None"),
        ({"rows": [GOOD | {"size": [1]}]}, r"size of a row is \[1\]"),
        ({"rows": [GOOD | {"ours_s": "fast"}]}, "ours_s of a row is 'fast'"),
        ({"rows": [GOOD | {"ours_s": True}]}, "ours_s of a row is True"),
        ({"rows": [GOOD | {"ours_s": 10**400, "peer_s": 1}]}, "int too large"),
        ({"rows": [GOOD | {"peak_mib": {}}]}, "peak_mib of a row is {}"),
        ({"rows": [GOOD | {"extrapolated": "yes"}]}, "extrapolated of a row is 'yes'"),
    ],
)
def test_rows_that_are_none_end_in_one_line(suite, measured, tmp_path, content, reason):
    done, _ = measured
    (tmp_path / "benchmarks.json").write_text(json.dumps({"machine": FACTS} | content))
    with pytest.raises(UserError, match=rf"benchmarks\.json is damaged \(.*{reason}") as caught:
        suites.run("nap", tmp_path)
    assert str(caught.value).count("\n") == 0
    assert done == []


def test_a_whole_number_is_a_figure_as_any_other():
    row = rows.from_content(GOOD | {"ours_s": 2, "peer_s": 3.0, "ratio": "of no account"})
    assert (row.ours_s, row.ratio) == (2.0, 1.5)


def test_what_cannot_be_read_or_written_is_refused_before_the_first_row(suite, measured, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write"):
        suites.run("nap", tmp_path / "file")
    (tmp_path / "benchmarks.json").write_text(json.dumps({"machine": FACTS, "rows": [{"no": 1}]}))
    with pytest.raises(UserError, match=r"benchmarks\.json is damaged .* remove it"):
        suites.run("nap", tmp_path)
    assert measured[0] == []


def test_an_unknown_suite_is_refused_by_name(launch, tmp_path):
    known = ", ".join(suites.names())
    assert known.startswith("decode, ")
    with pytest.raises(UserError, match=f"--suite is 'pastry'; choose one of {known}"):
        suites.run("pastry", tmp_path)
    outcome = launch("benchmark", "--suite=pastry", f"--out={tmp_path / 'new'}")
    assert outcome.err == f"error: --suite is 'pastry'; choose one of {known}\n"
    assert outcome.status == 1
    assert not list(tmp_path.glob("new*"))


def test_both_are_compiled_first_and_then_alternate():
    order = []
    contest = Contest(
        ours=lambda: order.append("o"),
        make_peer=lambda: order.append("make") or (lambda: order.append("p")),
        rounds=3,
        calls=2,
    )
    found = measurement.measure(contest)
    assert order == ["o", "o", "o", "make", "p", "p", "p", *["o", "o", "p", "p"] * 2]
    assert found.ours.whole > 0
    assert found.peer.whole > 0
    order.clear()
    assert measurement.measure(contest, with_peer=False).peer is None
    assert order == ["o"] * 7


def test_less_work_is_multiplied_and_told_as_is_the_share_of_the_peak():
    def nap():
        time.sleep(0.02)

    some = Parts(parts=[nap], number=49.5)
    contest = Contest(ours=some, make_peer=lambda: some, rounds=2, least_s=0.005)
    case = Case(stage="nap", size="2", prepare=lambda: contest, peer="sloth")
    (found,) = process._measured(case)
    assert found.ours_s >= 0.99
    assert found.peer_s >= 0.99
    assert found.extrapolated
    assert found.share == pytest.approx(49.5 * 0.005 / found.ours_s)
    row = Row(stage="nap", size="1", ours_s=2.0, extrapolated=True, share=0.123)
    assert row.content["share"] == 0.123
    assert "2.00 (extrapolated) (12 % of the chip's peak)" in str(row)
    assert rows.from_content(row.content) == row


def test_facts_tell_the_machine():
    found = process._facts()
    assert json.loads(json.dumps(found)) == found
    assert found == process._facts()
    assert found["accelerator"] is None
    assert found["cores"] >= 1
    assert {"python", "jax", "jaxsurf"} <= found["versions"].keys()
    assert measurement.peak_mib() > 50


def test_no_row_is_listed_twice():
    modules = [importlib.import_module(name) for names in suites.SUITES.values() for name in names]
    cases = [case for module in modules for case in module.CASES]
    keys = [
        (case.stage, size, getattr(case, "peer", ""))
        for case in cases
        for size in (case.sizes() if isinstance(case, Case) else [case.size])
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_listing_rows_leaves_the_accelerator_to_those_who_measure_them():
    modules = itertools.chain(*suites.SUITES.values())
    listing = "; ".join(f"import {module}" for module in modules)
    surroundings = os.environ | {"JAX_PLATFORMS": "nowhere"}
    subprocess.run([sys.executable, "-c", listing], env=surroundings, check=True)


def test_the_reports_grid_is_listed_whole():
    (whole,) = [case for case in sweep.CASES if isinstance(case, Total)]
    groups = [case for case in sweep.CASES if isinstance(case, Case) and case.size in whole.parts]
    members = [int(re.search(r"(\d+) members", case.size)[1]) for case in groups]
    assert sum(members) == 162
    assert whole.times * sweep.MEASURED_EPOCHS == 300
    assert {case.where for case in [whole, *groups]} == {"accelerator"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_a_tiny_decoding_is_measured(name):
    contest = decode.make_contest(ModelConfig(name=name, channels=8), frames=11, side=32)
    ours = contest.ours()
    assert ours.shape == (11, 32, 32, 3)
    assert abs(ours[1:].astype(int) - ours[:-1]).max() > 1
    assert abs(ours.astype(int) - contest.make_peer()()).max() <= 1
    found = measurement.measure(contest)
    assert found.error == ""
    assert found.ours.whole > 0
    assert found.peer.whole > 0


TINY = {
    "data.side": 32,
    "data.stride": 10,
    "model.name": "reference",
    "model.channels": 4,
    "training.batch_size": 5,
}


@pytest.mark.slow
def test_a_tiny_sweep_is_measured():
    axes = {"corruption.kind": ("normal", "white"), "optimizer.learning_rate": (1e-3, 2e-3, 4e-3)}
    contest = sweep.make_contest(TINY, axes)
    found = measurement.measure(contest)
    assert found.error == ""
    assert found.ours.whole > 0
    assert found.peer.whole > 0
    # One epoch of 16 images in batches of 5 to compile, one for each round.
    assert contest.ours.state.step.tolist() == [4 * 4] * 8  # six members, on four devices


@pytest.mark.slow
def test_a_tiny_group_with_perceptual_loss_is_measured(monkeypatch):
    axes = {
        "objective.mse,objective.perceptual": ((4.0, 0.0), (2.8, 0.3), (0.0, 1.0)),
        "corruption.strength": (0.1, 0.2),
    }
    monkeypatch.setattr(experiments, "GRID_BASE", experiments.GRID_BASE | TINY)
    monkeypatch.setattr(experiments, "GRID_AXES", axes)
    monkeypatch.setattr(sweep, "MEASURED_EPOCHS", 2)
    contest = sweep.make_group(1)
    found = measurement.measure(contest)
    assert found.ours.whole > 0
    assert found.peer is None
    assert contest.ours.state.step.tolist() == [4 * 3] * 4
