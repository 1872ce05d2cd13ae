import json
import resource
import struct
import time

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from jaxsurf.errors import UserError
from jaxsurf.training import journal
from jaxsurf.training.journal import Journal


def test_resume_drops_later_lines_and_a_half_written_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    book = Journal(path, resume_step=0)
    for step in (10, 20, 30):
        book.write(step, {"loss": step / 7})
    book.close()
    with path.open("a") as file:
        file.write('{"step": 40, "lo')

    book = Journal(path, resume_step=20)
    book.write(30, {"loss": 0.5})
    book.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[1]["loss"] == 20 / 7
    assert lines[2]["loss"] == 0.5
    assert journal.read(path) == lines


def events(folder):
    """Return TensorBoard's events, file by file in the order in which it reads them."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(event_pb2.Event.FromString(content[at + 12 : at + 12 + length]))
            at += 12 + length + 4
    return found


def shown(folder):
    """Return what TensorBoard shows: a start hides what came before from its step on."""
    kept = []
    for event in events(folder):
        if event.session_log.status == event_pb2.SessionLog.START:
            kept = [(step, name) for step, name in kept if step < event.step]
        kept += [(event.step, value.tag) for value in event.summary.value]
    return kept


def test_tensorboard_finds_its_own_file_beside(tmp_path):
    book = Journal(tmp_path / "metrics.jsonl", resume_step=0)
    book.write(1, {"loss": 1.5})
    book.show(1, np.zeros((3, 5, 3), np.uint8), name="picture")
    # It is read before it is closed: nothing waits in a buffer.
    version, line, picture = events(tmp_path)
    book.close()
    assert version.file_version == "brain.Event:2"
    assert (line.step, line.summary.value[0].tag) == (1, "loss")
    assert line.summary.value[0].simple_value == 1.5
    assert (picture.summary.value[0].image.height, picture.summary.value[0].image.width) == (3, 5)


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path, monkeypatch):
    for resumed, clock in ((0, 2e9), (20, 2e9), (0, 1e9), (10, 2e9)):  # the clock is put back
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        book = Journal(tmp_path / "metrics.jsonl", resume_step=resumed)
        for step in range(resumed + 10, 40, 10):
            book.write(step, {"loss": 0.0})
        book.close()
        assert shown(tmp_path) == [(10, "loss"), (20, "loss"), (30, "loss")]
    assert len(list(tmp_path.glob("events.*"))) == 4


def test_the_last_line_is_known_after_a_resume(tmp_path):
    book = Journal(tmp_path / "metrics.jsonl", resume_step=0)
    assert book.latest == {}
    for step in (10, 20, 30):
        book.write(step, {"loss": step / 8})
    book.close()
    book = Journal(tmp_path / "metrics.jsonl", resume_step=20)
    assert book.latest == {"step": 20, "loss": 2.5}
    book.close()


def fill(book):
    for step in range(100):
        book.write(step, {})


def test_a_full_disk_ends_in_one_line_and_leaves_what_was_written(tmp_path):
    path = tmp_path / "metrics.jsonl"
    book = Journal(path, resume_step=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*metrics.jsonl: File too large; free"):
            fill(book)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    book.close()
    lines = journal.read(path)
    assert lines == [{"step": step} for step in range(len(lines))]
    assert path.stat().st_size == 1000  # it went on to the very last byte
    book = Journal(path, resume_step=200)
    book.write(200, {})
    book.close()
    assert journal.read(path) == [*lines, {"step": 200}]


def test_no_file_reads_as_no_lines(tmp_path):
    assert journal.read(tmp_path / "metrics.jsonl") == []
