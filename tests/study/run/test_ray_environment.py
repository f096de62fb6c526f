"""The doors of a Ray of one's own, by its environment; tests/faults/test_doors.py looks."""

from __future__ import annotations

import os
import stat
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
