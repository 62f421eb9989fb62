"""Signals are said at once, remembered, and given back."""

import ctypes
import os
import signal
import sys
import threading

import pytest
from tqdm import tqdm

from rmt.runtime import interruption
from rmt.runtime.interruption import SECONDS_OF_ONE, Interrupted, Interruption

CTRL_C = "saving; Ctrl-C again ends at once\n"
SAID = {signal.SIGINT: CTRL_C, signal.SIGTERM: "saving\n", signal.SIGHUP: "saving\n"}


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def clock(monkeypatch):
    """A list whose only item is the time."""
    now = [100.0]
    monkeypatch.setattr(interruption.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("number", SAID)
def test_the_first_signal_is_said_once_and_remembered(capsys, number):
    with Interruption() as entered:
        entered.check()
        send(number)
        send(number)
        send(signal.SIGTERM)
        assert entered.number == number
        with pytest.raises(Interrupted):
            entered.check()
    assert capsys.readouterr().err == SAID[number]


def test_nothing_is_said_without_a_signal(capsys):
    with Interruption() as entered:
        entered.check()
    assert capsys.readouterr().err == ""


def test_only_the_first_of_several_processes_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with Interruption() as entered:
        send(signal.SIGINT)
        assert entered.requested
    assert capsys.readouterr().err == ""


def test_signals_are_given_back():
    def handlers():
        return [signal.getsignal(number) for number in SAID]

    before, threads = handlers(), threading.active_count()
    with Interruption():
        assert handlers() != before
    assert handlers() == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads


def test_nohup_is_heeded(capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as entered:
            send(signal.SIGHUP)
            assert not entered.requested
    finally:
        signal.signal(signal.SIGHUP, before)
    assert capsys.readouterr().err == ""


def test_a_second_ctrl_c_counts_after_half_a_second(clock):
    with Interruption():
        send(signal.SIGINT)
        for seconds in (0.01, 0.3, 0.49):
            clock[0] = 100 + seconds
            send(signal.SIGINT)
        clock[0] = 100.5
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_ctrl_c_after_another_signal_counts_after_half_a_second(clock):
    with Interruption() as entered:
        send(signal.SIGTERM)
        send(signal.SIGINT)
        clock[0] += SECONDS_OF_ONE
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert entered.number == signal.SIGTERM


@pytest.fixture
def busy(monkeypatch):
    """busy(send): stay in C, as in a backward pass, until something is said; return what is.

    Meanwhile send is called in another thread. Python handles signals only afterwards.
    """
    reading, writing = os.pipe()
    monkeypatch.setattr(interruption, "say", lambda line: os.write(writing, line.encode()))

    def busy(send) -> str:
        sender = threading.Thread(target=send)
        give_up = threading.Timer(20, os.write, (writing, b"nothing"))
        sender.start()
        give_up.start()
        said = ctypes.create_string_buffer(100)
        ctypes.CDLL(None).read(reading, said, 100)
        give_up.cancel()
        sender.join()
        return said.value.decode() + "\n"

    yield busy
    os.close(reading)
    os.close(writing)


def send_to_this_thread(number: int) -> None:
    """The main thread's C goes on."""
    signal.pthread_kill(threading.get_ident(), number)


def test_it_is_said_while_pytorch_is_busy(busy):
    with Interruption() as entered:
        assert busy(lambda: send_to_this_thread(signal.SIGINT)) == CTRL_C
    assert entered.number == signal.SIGINT


def test_no_bar_is_broken(capsys):
    with tqdm(total=9, desc="training", file=sys.stderr) as bar, Interruption():
        bar.update(3)
        send(signal.SIGTERM)
    before, line, _ = capsys.readouterr().err.partition("saving\n")
    assert line
    assert before.endswith("\r"), "the bar was wiped out"
