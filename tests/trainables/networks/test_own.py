"""Networks that are not ours, looked at in a process of their own."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from trainables.config.data import NetworkConfig
from trainables.networks import own
from trainables.networks.build import build, parameter_shapes_hash
from trainables.networks.cards import cost

CODE = """\
import os, re
from torch import nn

print("loaded")

def build(input_shape, num_classes, width=8):
    print("called")
    first = nn.Conv2d(input_shape[0], width, 3)
    return nn.Sequential(first, nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(num_classes))

def never_returns(input_shape, num_classes):
    re.match(r"(a+)+$", "a" * 60 + "b")  # holds the interpreter's lock

def is_killed(input_shape, num_classes):
    os.kill(os.getpid(), 9)

def leaves(input_shape, num_classes):
    os._exit(3)

def interrupted(input_shape, num_classes):
    raise KeyboardInterrupt

def sleeps(input_shape, num_classes):
    import time
    open(f"{os.path.dirname(__file__)}/child", "w").write(str(os.getpid()))
    time.sleep(600)

def leaves_a_child(input_shape, num_classes):
    if os.fork() == 0:
        import time
        open(f"{os.path.dirname(__file__)}/child", "w").write(str(os.getpid()))
        time.sleep(600)
    return build(input_shape, num_classes)

def says_goodbye(input_shape, num_classes):
    import sys
    sys.exit("no weights today")

def ends_well(input_shape, num_classes):
    os._exit(0)

class NeedsTwo(nn.Linear):
    def forward(self, x):
        if len(x) < 2:
            raise RuntimeError("one is not enough")
        return super().forward(x.flatten(1))

def needs_two(input_shape, num_classes):
    return NeedsTwo(192, num_classes)

def takes_one(num_classes):
    return nn.Linear(2, num_classes)
"""
SHAPE, CLASSES = (3, 8, 8), 5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BATCHGAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "bg_looked_at", raising=False)
    (tmp_path / "bg_looked_at.py").write_text(CODE)
    return str(tmp_path)


def network(function: str = "build", **options: int) -> NetworkConfig:
    return NetworkConfig(build=f"bg_looked_at:{function}", options=options)


def test_what_is_seen_is_the_networks_and_is_kept_for_its_code(folder: str) -> None:
    asked = network(width=6), SHAPE, CLASSES
    assert own.size(*asked, folder) is None
    seen = own.examine(*asked, 0, folder)
    assert "bg_looked_at" not in sys.modules  # it never ran in here
    assert seen.has_batch_norm
    assert seen.num_parameters == (3 * 9 * 6 + 6) + 2 * 6 + (6 * 36 * 5 + 5)
    assert seen.multiply_adds == 36 * 3 * 9 * 6 + 6 * 36 * 5
    assert own.known(*asked, folder) == seen
    assert own.size(*asked, folder) == (seen.num_parameters, seen.multiply_adds)
    assert own.known(network(width=7), SHAPE, CLASSES, folder) is None
    Path(folder, "bg_looked_at.py").write_text(CODE + "# changed\n")
    assert own.known(*asked, folder) is None
    Path(folder, "bg_looked_at.py").write_text(CODE)
    assert parameter_shapes_hash(build(*asked, 0, folder)) == seen.shapes_hash


def test_ours_are_counted_as_their_cards_do(folder: str) -> None:
    config = NetworkConfig(name="mlp", options={"hidden": [7, 5]})
    seen = own.examine(config, (1, 4, 4), 3, 0, folder)
    assert (seen.num_parameters, seen.multiply_adds) == cost(config, (1, 4, 4), 3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("is_killed", "ended by SIGKILL, as where memory runs out"),
        ("leaves", "ended with exit code 3"),
        ("interrupted", "ended by SIGINT"),
        ("ends_well", "ended with exit code 0"),
        ("says_goodbye", "raised SystemExit: no weights today"),
        (
            "takes_one",
            r"too many positional arguments; its parameters are \(num_classes\); expected is a "
            r"function build\(input_shape, num_classes, \*\*options\)",
        ),
        ("re", "cannot be called; expected is a function"),
    ],
)
def test_what_is_wrong_with_it_is_said(folder: str, function: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own.examine(network(function), SHAPE, CLASSES, 0, folder)
    assert own.known(network(function), SHAPE, CLASSES, folder) is None


def test_code_that_never_returns_is_ended_and_says_where_it_was(
    folder: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(own, "LIMIT_SECONDS", 6.0)  # most of it is torch's import
    with pytest.raises(ValueError, match="not built within 6 s; the lines above say where"):
        own.examine(network("never_returns"), SHAPE, CLASSES, 0, folder)
    lines = capfd.readouterr().err
    assert 'bg_looked_at.py", line 12 in never_returns' in lines


def test_ctrl_c_ends_it_too(folder: str) -> None:
    """It is in a session of its own, which a terminal's Ctrl-C does not reach."""
    mark = Path(folder, "child")

    def interrupt() -> None:
        while not mark.exists() or not mark.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        own.examine(network("sleeps"), SHAPE, CLASSES, 0, folder)
    thread.join()
    assert is_gone(mark)


def is_gone(mark: Path) -> bool:
    """Whether the process whose id is in a file has ended, soon."""
    child, deadline = Path("/proc", mark.read_text(), "stat"), time.monotonic() + 5
    while time.monotonic() < deadline:
        if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_what_a_build_leaves_running_is_ended_with_it(folder: str) -> None:
    began = time.monotonic()
    assert own.examine(network("leaves_a_child"), SHAPE, CLASSES, 0, folder).has_batch_norm
    assert time.monotonic() - began < 60
    assert is_gone(Path(folder, "child"))


def test_a_network_may_need_two_examples(folder: str) -> None:
    seen = own.examine(network("needs_two"), SHAPE, CLASSES, 0, folder)
    assert seen.multiply_adds == 192 * CLASSES
