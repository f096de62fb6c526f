"""What doctor says of a node: one line where it is fit, else what is not, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.run import node
from study.run.node import NodeFacts
from study.show.cluster_checks import node_checks
from study.show.doctor import Check

HERE = NodeFacts(
    host="head",
    versions={"python": "3.11.7", "torch": "2.15.0"},
    gpus=(),
    driver=None,
    sees_results=True,
    cannot_write=(),
    free_bytes=10**11,
    memory_bytes=64 * 10**9,
    asks_for_token=True,
    fingerprints={"mnist": "abc"},
)


def checked(found: NodeFacts | Exception) -> list[Check]:
    return list(node_checks("node a1b2c3", found, HERE, Path("/shared/studies")))


def test_a_fit_node_is_one_line() -> None:
    (check,) = checked(replace(HERE, host="worker", gpus=("A100", "A100"), driver="580.65"))
    assert (check.name, check.state) == ("node a1b2c3", "ok")
    assert check.detail == (
        "worker: A100, A100 (driver 580.65), 64.0 GB, versions as here, results seen and written, "
        "data alike"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"versions": {"python": "3.11.7", "torch": "2.14.0"}},
            "torch 2.14.0, here 2.15.0: install",
        ),
        ({"versions": {"python": "3.11.7"}}, "torch is missing, here 2.15.0"),
        ({"sees_results": False}, "/shared/studies is another folder there: mount one"),
        ({"cannot_write": ("/shared/studies: Read-only file system",)}, "cannot write /shared"),
        ({"fingerprints": {"mnist": "other"}}, "data mnist: other, here abc; copy the same files"),
    ],
)
def test_what_is_not_alike_is_a_problem(change: dict[str, Any], said: str) -> None:
    (check,) = checked(replace(HERE, **change))
    assert check.state == "problem"
    assert said in check.detail


def test_little_room_and_no_token_are_warnings() -> None:
    found = checked(replace(HERE, free_bytes=10**8, asks_for_token=False))
    assert [check.state for check in found] == ["warning", "warning", "ok"]
    assert "RAY_AUTH_MODE=token" in found[1].detail


def test_a_node_without_batchgap_says_so() -> None:
    error = RuntimeError("Traceback ...\nModuleNotFoundError: No module named 'study'")
    (check,) = checked(error)
    assert check.state == "problem"
    assert "No module named 'study'; install the same batchgap on every node" in check.detail


@pytest.mark.parametrize("text", ["", "no answer within 120 s; is it overloaded?"])
def test_a_node_that_says_nothing_is_not_told_to_install(text: str) -> None:
    (check,) = checked(TimeoutError(text))
    assert check.detail == f"could not look there: {text or 'TimeoutError'}"


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    """Least of all a results folder on a node whose shared disk is not mounted."""
    found = node.look(str(tmp_path / "shared" / "studies" / "probe"), [], None)
    assert not found.sees_results and found.cannot_write == ()
    assert not list(tmp_path.iterdir())
