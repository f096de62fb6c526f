"""The doors of a Ray of one's own, by its environment; tests/faults/test_doors.py looks."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from study.run import ray_environment
from trainables.results.storage import FolderError


def test_a_private_ray_is_closed_with_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    first, second = ray_environment.variables(), ray_environment.variables()
    assert first["RAY_AUTH_MODE"] == "token" and len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
    monkeypatch.setenv("RAY_AUTH_TOKEN", first["RAY_AUTH_TOKEN"])  # as its workers have it
    assert ray_environment.variables()["RAY_AUTH_TOKEN"] == first["RAY_AUTH_TOKEN"]


def test_a_cluster_that_is_named_keeps_its_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    found = ray_environment.variables()
    assert not [name for name in found if "AUTH" in name or "IFNAME" in name or "OSX" in name]


def test_the_folder_is_its_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    own = ray_environment.private_folder().parent
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)
    ray_environment.private_folder()
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.rmdir()
    (tmp_path / "elsewhere").mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match="is not yours"):
        ray_environment.private_folder()
    own.unlink()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "batchgap-12345").mkdir()
    with pytest.raises(FolderError, match="is not yours; set RAY_TMPDIR"):
        ray_environment.private_folder()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "ray://head:10001",
            "do not run through Ray Client; use `ray job submit --address http://",
        ),
        ("http://head:8265", "is where jobs are submitted to"),
        ("head", "is no address of a cluster; say auto, or host:port"),
        ("head:port", "is no address of a cluster"),
    ],
)
def test_what_a_study_cannot_be_run_from_is_refused_with_the_way(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ray_environment.ClusterError, match=said):
        ray_environment.enter()


@pytest.mark.parametrize(
    ("variable", "typed", "joined"),
    [
        (None, None, None),
        ("", None, None),
        ("10.0.0.1:6379", None, "10.0.0.1:6379"),
        ("10.0.0.1:6379", "local", None),
        ("10.0.0.1:6379", "[::1]:6380", "[::1]:6380"),
        (None, "auto", "auto"),
    ],
)
def test_what_is_typed_goes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, typed: str | None, joined: str | None
) -> None:
    monkeypatch.setattr(os, "environ", {} if variable is None else {"RAY_ADDRESS": variable})
    ray_environment.enter(typed)
    assert ray_environment.cluster() == joined
    assert ("RAY_AUTH_TOKEN" in os.environ) == (joined is None)


def test_an_address_without_a_cluster_fails_in_time_with_its_name() -> None:
    with socket.socket() as taken:  # listens to nobody
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(
            ray_environment.ClusterError, match=f"{address}.*no Ray cluster answers"
        ):
            ray_environment.check_answers(address)
    assert time.monotonic() - began < 15
