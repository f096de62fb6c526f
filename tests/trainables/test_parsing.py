"""YAML and JSON of strangers: counted as an expansion would be, without expanding."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from trainables import limits
from trainables.limits import LimitError
from trainables.parsing import check_yaml, json_values, yaml_values


def size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + size(item) for item in value.values())
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


LISTS = st.recursive(
    st.sampled_from(["1", "x", "*a", "*b"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=12,
)


@given(LISTS, LISTS)
def test_the_count_is_that_of_the_expanded_values(first: str, second: str) -> None:
    """The oracle is the library's own expansion, counted afterwards."""
    text = (
        f"base: [&a [1, [2, 3]], &b {{k: v}}]\none: {first}\ntwo: &c [{second}]\nthree: [*c, *c]\n"
    )
    count = size(YAML(typ="safe", pure=True).load(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHGAP_MAX_NODES", str(count))
        check_yaml(text)
        patch.setenv("BATCHGAP_MAX_NODES", str(count - 1))
        with pytest.raises(LimitError, match=f"{count:,} values|values, with those"):
            check_yaml(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [*x]", "1:8: \\*x stands for what it is a part of"),
        ("a: !!int '1'", "1:4: YAML tags"),
        ("a: ! b", "1:4: YAML tags"),
        ("a: " + "[" * 51, "1:53: 51 levels of nesting, and at most 50"),
        ("a: " + "1" * 41, "1:4: 41 digits of a number"),
        ("a: 0x" + "f" * 60, "digits of a number"),
        ("a: " + "x" * 1_000_000, "1,000,003 bytes of a study file"),
        ("1: x", "key 1 must be text"),
        ("a: 1\na: 2", "duplicate key"),
        ("a: [", "expected"),
    ],
)
def test_what_is_refused_is_said_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        yaml_values(text)


def test_what_is_allowed_is_what_the_text_says() -> None:
    text = f"a: {{b: [1, 2.5, 2024-01-01]}}\nc: '{'1' * 50}'\nd: &d x\ne: *d\n"
    found = yaml_values(text)
    assert found == {"a": {"b": [1, 2.5, "2024-01-01"]}, "c": "1" * 50, "d": "x", "e": "x"}


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        json_values("[" * 100_000)
    assert json_values('{"a": [1]}') == {"a": [1]}


def test_a_count_of_thousands_of_digits_can_be_said() -> None:
    said = limits.beyond("NODES", 10**5000)
    assert said is not None and said.startswith("more than 1,000,000,000,000,000 values")


def test_memory_is_the_least_of_all_that_bounds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda which: (10_000, 20_000))
    assert limits.memory_bytes() == 10_000
    with pytest.raises(LimitError, match="10,001 bytes for it, and there are 10,000 of memory"):
        limits.check_memory(10_001, "for it")


@pytest.mark.parametrize(("needed", "refused"), [(64 << 20, False), (65 << 20, True)])
def test_a_small_file_may_grow_to_some_size_whatever_its_own(needed: int, refused: bool) -> None:
    """Beyond that, to a thousand times its own."""
    limits.check_expansion(needed, 1 << 20)
    if refused:
        with pytest.raises(LimitError, match="times its size"):
            limits.check_expansion(needed, 1 << 10)
    else:
        limits.check_expansion(needed, 1 << 10)
