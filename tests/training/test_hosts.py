"""Several processes as one run, on the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxsurf.errors import UserError
from jaxsurf.training import hosts, lifeline
from jaxsurf.training.hosts import Cluster

ONE_OF_TWO = Path(__file__).with_name("several.py")


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def play(scene):
    """Return status, output and errors of both processes."""
    port = free_port()
    both = [
        subprocess.Popen(
            [sys.executable, ONE_OF_TWO, str(process), str(port), scene],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )
        for process in (0, 1)
    ]
    said = [one.communicate(timeout=120) for one in both]
    return [(one.returncode, *texts) for one, texts in zip(both, said, strict=True)]


def test_all_hear_the_largest_number_of_the_call_before():
    for process, (status, out, err) in enumerate(play("agree")):
        assert status == 0, err
        assert f"4 devices, process {process} done" in out


def test_processes_that_differ_are_refused_with_both_values():
    for status, _, err in play("differ"):
        assert status == 1
        assert "error: data is cafe0 in process 0, but cafe1 in process 1; start all" in err


@pytest.mark.parametrize(
    "scene",
    [
        "be_killed",
        "be_killed_before_all_meet",
        "be_killed_before_the_end",
        "be_killed_while_they_part",
    ],
)
def test_the_others_end_at_once_with_a_clear_line_when_one_is_killed(scene):
    began = time.monotonic()
    (status, _, err), (killed, _, _) = play(scene)
    assert killed == -9
    assert status == hosts.PEER_LOST, err
    assert "error: process 1 of 2 ended; start all of them again" in err
    assert "Traceback" not in err
    assert time.monotonic() - began < hosts._HEARTBEAT_S


def test_it_ends_also_where_nobody_reads_of_it():
    (status, _, _), (killed, _, _) = play("be_killed_with_nobody_to_read_of_it")
    assert killed == -9
    assert status == hosts.PEER_LOST


@pytest.mark.parametrize("scene", ["fail_unforeseen_in_turn", "fail_of_memory_in_turn"])
def test_an_error_that_each_has_of_itself_is_shown_by_each(scene):
    for status, _, err in play(scene):
        assert status == 1
        assert "no such thing" in err


def test_what_all_fail_of_is_said_also_if_one_is_killed_meanwhile():
    (status, _, err), (killed, _, _) = play("fail_alike_and_be_killed")
    assert killed == -9
    assert status == 1
    assert "error: no such images; look for them" in err


def test_one_that_is_killed_before_its_line_is_drawn_is_said():
    (status, _, err), (killed, _, _) = play("be_killed_before_its_line_is_drawn")
    assert killed == -9
    assert status == 1
    assert "error: another process ended before the run began (" in err
    assert "); start all of them again" in err


@pytest.mark.parametrize(
    ("scene", "complaint"),
    [
        ("fail", "error: no space; free some"),
        ("fail_unforeseen", "RuntimeError: no such thing"),
    ],
)
def test_the_others_end_when_one_fails_alone(scene, complaint):
    (failed, _, reason), (status, _, err) = play(scene)
    assert failed == 1
    assert complaint in reason
    assert status == hosts.PEER_LOST
    assert "error: process 0 of 2 ended" in err


@pytest.mark.parametrize("scene", ["fail_alike_0_first", "fail_alike_1_first"])
def test_each_says_itself_what_all_fail_of(scene):
    for status, _, err in play(scene):
        assert status == 1, err
        assert "error: no such images; look for them" in err


def test_one_that_is_asked_to_stop_before_it_trains_does_so():
    (status, _, _), (stopped, _, err) = play("be_asked_to_stop")
    assert stopped == 128 + signal.SIGTERM, err
    assert status == hosts.PEER_LOST


def test_one_process_needs_no_others():
    with hosts.joined(None):
        assert hosts.writes()
        hosts.check_agreement({"seed": 1})
        agreement = hosts.Agreement()
        assert [agreement(3), agreement(0)] == [3, 0]


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"coordinator": "here:1"}, "some are missing"),
        ({"num_processes": 2, "process_id": 0}, "some are missing"),
        ({"coordinator": "here", "num_processes": 2, "process_id": 0}, "here has no port"),
        (
            {"coordinator": "here:1", "num_processes": 2, "process_id": 2},
            "is 2, but there are 2 processes",
        ),
    ],
)
def test_what_says_no_cluster_is_refused(told, complaint):
    with pytest.raises(UserError, match=complaint):
        Cluster(**told)


class Ends:
    """A hub and spokes in one process; what they hear of is collected."""

    def __init__(self, number, **settings):
        self.lost = {process: [] for process in range(number + 1)}
        self.hub = lifeline.Hub(self.lost[0].append, **settings)
        self.spokes = {
            process: lifeline.Spoke(
                *(process, self.hub.address, self.lost[process].append),
                host="localhost",
                **settings,
            )
            for process in range(1, number + 1)
        }
        wait_for(lambda: len(self.hub._names) == number)

    def close(self):
        for end in (*self.spokes.values(), self.hub):
            end.close(orderly=True)


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_broken_spoke_is_told_to_all():
    ends = Ends(3)
    ends.spokes[2].close(orderly=False)
    wait_for(lambda: all(ends.lost[process] for process in (0, 1, 3)))
    assert ends.lost == {0: ["process 2"], 1: ["process 2"], 2: [], 3: ["process 2"]}
    ends.close()


def test_a_machine_that_vanishes_is_missed_within_half_a_minute():
    ends = Ends(1)
    for connection in (ends.spokes[1]._connection, *ends.hub._names):
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            silence, between, questions = (
                connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"))
                for name in ("IDLE", "INTVL", "CNT")
            )
            assert silence + between * questions <= 30 < hosts._HEARTBEAT_S
    ends.close()


def test_where_the_system_has_no_such_intervals_its_own_are_taken(monkeypatch):
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_KEEPALIVE"):
        monkeypatch.delattr(socket, name, raising=False)
    with socket.socket() as connection:
        lifeline._keep_alive(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_broken_hub_is_heard_of_by_all():
    ends = Ends(2)
    ends.hub.close(orderly=False)
    wait_for(lambda: ends.lost[1] and ends.lost[2])
    assert ends.lost == {0: [], 1: ["process 0"], 2: ["process 0"]}
    ends.close()


def test_who_listens_is_back_when_an_end_has_been_told(monkeypatch):
    monkeypatch.setattr(lifeline, "_WORD_S", 0.1)
    ends = Ends(2, patience_s=0.3)
    for end in (ends.hub, ends.spokes[1]):
        end.listen()
    assert not any(ends.lost.values())
    monkeypatch.setattr(lifeline, "_WORD_S", 60.0)
    began = time.monotonic()
    ends.spokes[2].close(orderly=False)
    for process, end in ((0, ends.hub), (1, ends.spokes[1])):
        end.listen()
        assert ends.lost[process] == ["process 2"]
    assert time.monotonic() - began < 30
    ends.close()


def test_an_orderly_end_alarms_nobody():
    ends = Ends(2)
    ends.spokes[1].close(orderly=True)
    wait_for(lambda: len(ends.hub._names) == 1)
    ends.hub.close(orderly=True)
    ends.spokes[2].close(orderly=True)
    time.sleep(0.3)
    assert not any(ends.lost.values())


def test_a_line_may_be_drawn_to_any_address_of_process_0():
    addresses = ["127.0.0.1", *["::1"] * socket.has_dualstack_ipv6()]
    hub = lifeline.Hub([].append)
    spokes = [
        lifeline.Spoke(number, hub.address, [].append, host=address)
        for number, address in enumerate(addresses, start=1)
    ]
    wait_for(lambda: len(hub._names) == len(addresses))
    for end in (*spokes, hub):
        end.close(orderly=True)


def test_whoever_does_not_know_the_token_is_sent_away():
    ends = Ends(1)
    name, port, token = ends.hub.address.split()
    heard = []
    address = f"{name} {port} {'0' * len(token)}"
    stranger = lifeline.Spoke(7, address, heard.append, host="localhost")
    wait_for(lambda: heard)
    assert list(ends.hub._names.values()) == ["process 1"]
    stranger.close(orderly=False)
    ends.close()
    assert not any(ends.lost.values())


def test_one_who_connects_and_says_nothing_keeps_nobody_from_hearing():
    ends = Ends(2)
    with socket.create_connection(("localhost", int(ends.hub.address.split()[1]))):
        wait_for(lambda: ends.hub._strangers)
        began = time.monotonic()
        ends.spokes[2].close(orderly=False)
        wait_for(lambda: ends.lost[0] and ends.lost[1])
        assert time.monotonic() - began < lifeline._CONNECT_S / 2
        ends.close()


def test_a_greeting_may_come_in_pieces():
    hub = lifeline.Hub([].append)
    greeting = lifeline._GREETING.pack(bytes.fromhex(hub.address.split()[2]), 3)
    with socket.create_connection(("localhost", int(hub.address.split()[1]))) as connection:
        for piece in (greeting[:5], greeting[5:]):
            connection.sendall(piece)
            time.sleep(0.2)
        wait_for(lambda: [*hub._names.values()] == ["process 3"])
    wait_for(lambda: not hub._names)
    hub.close(orderly=True)


def test_half_a_greeting_is_sent_away():
    hub = lifeline.Hub([].append)
    with socket.create_connection(("localhost", int(hub.address.split()[1]))) as connection:
        connection.sendall(bytes.fromhex(hub.address.split()[2]))
        wait_for(lambda: any(hub._strangers.values()))
    wait_for(lambda: not hub._strangers)
    assert not hub._names
    hub.close(orderly=True)


def test_a_line_that_cannot_be_drawn_is_said(caplog):
    caplog.set_level("WARNING", logger="jaxsurf")
    spoke = lifeline.Spoke(1, f"nowhere {free_port()} {'0' * 32}", [].append, host="localhost")
    spoke.close(orderly=True)
    assert "process 1 has no line to process 0 (Connection refused)" in caplog.text
