"""What is known of a network that is not ours: it is built once, in a process of its own. Light.

So a plan knows the size and cost of a user's code without running it in its own process, and code
that fails, kills its process or never returns is a line that says so. What was seen is kept in the
cache under the hash of the code's source file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from trainables.config.data import NetworkConfig
from trainables.config.identity import key_of, science
from trainables.imports import source_hash
from trainables.installation import package_version, remember, remembered
from trainables.networks.cards import CARDS, cost

FILE = "networks.json"
LIMIT_SECONDS = 60.0
"""In which `build` must have returned, torch's import included."""
PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from trainables.run.examine import main; main()"
"""Modules are looked for where this process does, and not in the working directory."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What building a network told."""

    num_parameters: int
    multiply_adds: int
    """Of the forward pass of one example, in convolutions and matrix products."""
    shapes_hash: str
    """`parameter_shapes_hash` of it."""
    has_batch_norm: bool


def is_own(config: NetworkConfig) -> bool:
    """Whether a network is known only once it is built: an import string, a torchvision model."""
    return config.name not in CARDS


def size(
    config: NetworkConfig, input_shape: tuple[int, ...], num_classes: int, import_folder: str | None
) -> tuple[int, int] | None:
    """Parameters and multiply-adds (`cards.cost`); None of a network that was never built here."""
    if not is_own(config):
        return cost(config, input_shape, num_classes)
    seen = known(config, input_shape, num_classes, import_folder)
    return None if seen is None else (seen.num_parameters, seen.multiply_adds)


def identity(
    config: NetworkConfig,
    input_shape: Sequence[int],
    num_classes: int,
    import_folder: str | None,
) -> list[Any]:
    """What tells one network from another, as plain values: its code's hash among them."""
    code = config.build and source_hash(config.build, import_folder)
    return [science(config), list(input_shape), num_classes, code]


def known(
    config: NetworkConfig,
    input_shape: Sequence[int],
    num_classes: int,
    import_folder: str | None,
) -> Seen | None:
    """What was seen of it before, with the same code."""
    values = remembered(FILE, _key(config, input_shape, num_classes, import_folder))
    with suppress(TypeError):  # another version's
        return None if values is None else Seen(**values)
    return None


def examine(
    config: NetworkConfig,
    input_shape: Sequence[int],
    num_classes: int,
    seed: int,
    import_folder: str | None,
) -> Seen:
    """Builds the network in a process of its own, and keeps what was seen.

    Raises:
        ValueError: as `networks.build.build` does, and where that process ended before it had
            built the network, or had not within `LIMIT_SECONDS`.
    """
    asked = {
        "config": asdict(config),
        "input_shape": list(input_shape),
        "num_classes": num_classes,
        "seed": seed,
        "import_folder": import_folder,
        "limit_seconds": LIMIT_SECONDS,
    }
    began = time.monotonic()
    returncode, answer = _told(json.dumps(asked))
    if returncode != 0 or not answer:
        why = _why_ended(returncode, time.monotonic() - began)
        raise ValueError(f"network {config.label}: {why}")
    told = json.loads(answer)
    if "error" in told:
        raise ValueError(told["error"])
    seen = Seen(**told)
    with suppress(OSError):  # where nothing can be kept it is built again next time
        remember(FILE, _key(config, input_shape, num_classes, import_folder), asdict(seen))
    return seen


def _told(asked: str) -> tuple[int, str]:
    """Exit code and answer of the process that builds; whatever that started ends with it."""
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as question:
        question.write(asked)
        question.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *sys.path],
            stdin=question,
            stdout=answer,
            start_new_session=True,
        )
        try:
            # It ends itself, and says where it was; this is for code that prevents that.
            process.wait(timeout=LIMIT_SECONDS + 5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer.seek(0)
        return process.returncode, answer.read()


def _why_ended(returncode: int, seconds: float) -> str:
    if seconds >= LIMIT_SECONDS:
        limit = f"{LIMIT_SECONDS:g} s"
        return f"was not built within {limit}; the lines above say where its code was then"
    if returncode < 0:
        name = signal.Signals(-returncode).name
        memory = ", as where memory runs out" if name == "SIGKILL" else ""
        return f"the process that built it was ended by {name}{memory}"
    return f"the process that built it ended with exit code {returncode}"


def _key(
    config: NetworkConfig, input_shape: Sequence[int], num_classes: int, import_folder: str | None
) -> str:
    told = identity(config, input_shape, num_classes, import_folder)
    told += [package_version("torch"), package_version("torchvision")]
    return key_of(told)
