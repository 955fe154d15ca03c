"""Finished answers: right while they are kept, bounded, and gone where somebody was erased."""

from __future__ import annotations

from bridge.answers import Answers, Key


def key(asked: str, tenant: str = "default") -> Key:
    return tenant, asked


def test_answer_read_before_a_change_is_not_kept() -> None:
    answers = Answers()
    answers.live = True
    before = answers.asking("default", ["+1", "+2"])
    answers.changed("default", ["+2"])
    answers.keep(key("asked"), before, b"old")
    assert answers.get(key("asked")) is None
    answers.keep(key("asked"), answers.asking("default", ["+1", "+2"]), b"new")
    assert answers.get(key("asked")) == b"new"
    answers.changed("default", ["+3"])
    answers.changed("acme", ["+1"])
    assert answers.get(key("asked")) == b"new"
    answers.changed("default", ["+1"])
    assert answers.get(key("asked")) is None


def test_nothing_is_kept_while_deaf() -> None:
    answers = Answers()
    answers.keep(key("asked"), answers.asking("default", ["+1"]), b"old")
    assert answers.get(key("asked")) is None
    answers.live = True
    before = answers.asking("default", ["+1"])
    answers.clear()
    answers.keep(key("asked"), before, b"old")
    assert answers.get(key("asked")) is None


def test_answers_are_bounded_in_count_and_bytes() -> None:
    answers = Answers(most=3, most_bytes=5_000)
    answers.live = True
    for i in range(5):
        answers.keep(key(str(i)), answers.asking("default", [str(i)]), b"x")
    assert [i for i in range(5) if answers.get(key(str(i)))] == [2, 3, 4]
    answers.get(key("2"))
    answers.keep(key("large"), answers.asking("default", ["large"]), b"x" * 3_600)
    assert [text for text in ("2", "3", "4", "large") if answers.get(key(text))] == ["2", "large"]
    answers.changed_all("other")
    assert answers.get(key("large"))
    answers.changed_all("default")
    assert [text for text in ("2", "3", "4", "large") if answers.get(key(text))] == []


def test_more_changes_than_can_be_remembered_forget_all() -> None:
    answers = Answers(most=3)
    answers.live = True
    before = answers.asking("default", ["+1"])
    answers.keep(key("kept"), before, b"x")
    answers.changed("default", ["+2", "+3", "+4", "+5"])
    assert answers.get(key("kept")) is None
    answers.keep(key("kept"), before, b"x")
    assert answers.get(key("kept")) is None


def test_changes_cost_nothing_while_nothing_is_kept() -> None:
    answers = Answers()
    answers.live = True
    before = answers.asking("default", ["+0"])
    for n in range(1000):
        answers.changed("default", [f"+{n}"])
    assert not answers._changed
    answers.keep(key("asked"), before, b"old")
    assert answers.get(key("asked")) is None
    answers.keep(key("asked"), answers.asking("default", ["+0"]), b"new")
    assert answers.get(key("asked")) == b"new"


def test_what_was_asked_counts_as_what_was_answered_does() -> None:
    answers = Answers(most_bytes=100_000)
    answers.live = True
    for i in range(10):
        answers.keep(key(f"{i}" * 30_000), answers.asking("default", ["+1"]), b"[]")
    assert 90_000 < answers.bytes < 100_000
    assert [i for i in range(10) if answers.get(key(f"{i}" * 30_000))] == [7, 8, 9]
    answers.changed("default", ["+1"])
    assert [answers.get(key(f"{i}" * 30_000)) for i in range(10)] == [None] * 10
    assert answers.bytes == 0


def test_forgotten_answers_are_gone_and_those_under_way_are_not_kept() -> None:
    answers = Answers()
    answers.live = True
    tenants = ("default", "acme")
    under_way = {tenant: answers.asking(tenant, ["+1"]) for tenant in tenants}
    for tenant in tenants:
        answers.keep(key("1", tenant), under_way[tenant], b"Ann")
        answers.changed(tenant, ["+2"])
    one = answers.bytes // 2
    answers.forget("default")
    assert answers.bytes == one
    for tenant in tenants:
        answers.keep(key("again", tenant), under_way[tenant], b"Ann")
    assert [answers.get(key(asked)) for asked in ("1", "again")] == [None, None]
    assert [answers.get(key(asked, "acme")) for asked in ("1", "again")] == [b"Ann", b"Ann"]
    answers.keep(key("1"), answers.asking("default", ["+1"]), b"[]")
    assert answers.get(key("1")) == b"[]"
    answers.forget()
    assert answers.bytes == 0
    answers.keep(key("1", "acme"), under_way["acme"], b"Ann")
    assert answers.get(key("1", "acme")) is None
