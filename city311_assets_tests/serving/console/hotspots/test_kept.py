"""Answers that panels share: made once at a time, the oldest let go, a failure not kept."""

import threading

import pytest

from city311_assets.serving.console.hotspots.kept import Kept


def test_threads_that_ask_the_same_at_once_have_it_made_once():
    kept, made, answers = Kept(), [], []
    begun, go_on = threading.Event(), threading.Event()

    def make() -> str:
        made.append("x")
        begun.set()
        assert go_on.wait(10)
        return "answer"

    threads = [
        threading.Thread(target=lambda: answers.append(kept.of("q", make))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    # Another question does not wait for it.
    assert kept.of("other", lambda: 1) == 1
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["answer"] * 4
    assert made == ["x"]


def test_what_was_asked_longest_ago_is_let_go_first():
    kept = Kept(most=2)
    assert [kept.of(name, lambda name=name: name) for name in "abac"] == list("abac")
    # b was asked before a was asked again.
    assert kept.of("a", lambda: "made anew") == "a"
    assert kept.of("b", lambda: "made anew") == "made anew"


def test_a_question_that_failed_is_asked_again():
    kept = Kept()
    with pytest.raises(ZeroDivisionError):
        kept.of("q", lambda: 1 // 0)
    assert kept.of("q", lambda: 2) == 2
