import json

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


def test_tensorboard_finds_its_own_file_beside(tmp_path):
    book = Journal(tmp_path / "metrics.jsonl", resume_step=0)
    book.write(1, {"loss": 1.0})
    book.close()
    assert len(list(tmp_path.glob("events.*"))) == 1


def test_no_file_reads_as_no_lines(tmp_path):
    assert journal.read(tmp_path / "metrics.jsonl") == []
