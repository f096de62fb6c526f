"""The study file that `batchgap init` writes: commented, small, and one that runs as it is."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from study.file.document import StudyError
from study.grid.spec import load_spec

_MNIST = """\
# Which examples.
data:
  source: mnist-5k              # 5,000 training and 10,000 test images, shipped with batchgap
"""
_OWN_DATA = """\
# Which examples.
data:
  load: {data}   # returns {{'train': (inputs, labels), 'test': (inputs, labels)}}
  # Further keys here are passed to it as keyword arguments.
"""
_MLP = """\
# Which network.
network:
  name: mlp                     # others: f1, c1, resnet18-cifar, ..., or torchvision/resnet18
"""
_OWN_NETWORK = """\
# Which network.
network:
  build: {network}   # called as build(input_shape, num_classes, ...); returns an nn.Module
  # Further keys here are passed to it as keyword arguments.
"""
_REST = """\
# What every trial has in common. A field that is an axis of the grid is not repeated here.
training:
  optimizer: {name: sgd, momentum: 0.9}
  base_lr: 0.02                 # tuned at lr_reference_batch_size; the rule below scales it
  lr_reference_batch_size: 32
  epochs: 10
  decay: cosine
  discard_epochs: 5             # small-loss examples are discarded until this epoch

# The axes: every combination is a point, and every point runs once per seed. Points that come to
# the same training (at the reference batch no rule changes the rate) are trained once.
grid:
  training.global_batch_size: [32, 256, 1000]
  training.lr_scaling: [none, sqrt]      # or linear
  training.warmup_epochs: [0, 2]
  training.discard_ratio: [0, 0.3]       # share of smallest losses dropped from each batch

# Named sets of changes to the baseline, tried at every combination of the grid.
arms:
  small-first-epoch:
    training.batch_schedule: [{until_epoch: 1, global_batch_size: 32}]

# Points to leave out. A list means any of its values: here the arm runs at the largest batch only,
# and without the other remedies.
exclude:
  - {arm: small-first-epoch, training.global_batch_size: [32, 256]}
  - {arm: small-first-epoch, training.lr_scaling: sqrt}
  - {arm: small-first-epoch, training.warmup_epochs: 2}
  - {arm: small-first-epoch, training.discard_ratio: 0.3}

# Three seeds are exploratory and quick; five give intervals to rely on.
seeds: 3
baseline_batch_size: 32         # the small batch that gaps are measured from

# What is recorded. Sharpness and Hessian are taken at the end, on so many training examples.
measures:
  - {name: evaluation, every_epochs: 2}
  - {name: sharpness, examples: 1000}
  - {name: hessian, examples: 1000, trace_samples: 10}

# Where and how it runs; no part of the result.
execution:
  num_workers: 1                # processes that share one trial's batch
  threads_per_worker: 1
"""

_QUESTION = "What does a larger batch do to accuracy, and which remedies close the gap?"
_OWN_QUESTION = (
    "Which rate goes with which batch size, what does a larger batch cost, and does warmup help?"
)
_OWN_HEAD = """\
# Cost: 48 trials of the search (3 batch sizes, with and without warmup, 8 rates) and 30 finals
# (the best rate of each, five seeds). `batchgap plan FILE --calibrate` times your network and says
# how long. Smaller: fewer batch sizes, points: 4, seeds: 3 (exploratory). Wider: points: 16.
#
"""
_VALIDATION = """\
  validation_examples: 500      # held out of training: the search chooses by them, never by the
                                # test set. Leave it out where load returns a validation split.
"""
_OWN_REST = """\
# What every trial has in common. The rate is searched below.
training:
  optimizer: {name: sgd, momentum: 0.9}
  epochs: 10
  decay: cosine

# The axes of the grid.
grid:
  training.global_batch_size: [32, 128, 512]

# Named sets of changes to the baseline, tried at every batch size.
arms:
  warmup: {training.warmup_epochs: 2}

# The rate of every batch size and arm, tuned apart: all try the same eight.
search:
  method: random
  fields:
    training.base_lr: {low: 0.003, high: 3, log: true}
  points: 8                     # 4, 8, 16 or 32 rates, evenly spaced
  finals: own                   # each at its own best rate. crossed also runs warmup at the
                                # baseline's, and the baseline at warmup's and beside its own
                                # best: up to four times the finals, and only then is warmup
                                # credited with a gain by name

seeds: 5                        # of the finals: the search never saw them
baseline_batch_size: 32         # the small batch that gaps are measured from

# What is recorded. Curvature can be added when all has run: batchgap measure FILE --add
# '{name: hessian, examples: 1000, trace_samples: 10}'
measures:
  - {name: evaluation, every_epochs: 2}

# Where and how it runs; no part of the result.
execution:
  num_workers: 1                # processes that share one trial's batch
  threads_per_worker: 1
"""


def study_text(name: str, network: str | None, data: str | None) -> str:
    """The text of a new study file.

    With an own network or own data it asks what an engineer asks: which rate goes with which batch
    size, and does warmup help; else it shows what there is, on embedded images.

    Args:
        name: the study's name.
        network: import string of the user's own network; default: the built-in perceptron.
        data: import string of the user's own loader; default: the embedded images.
    """
    own = network is not None or data is not None
    head = f"""\
# A batchgap study. `batchgap plan FILE` shows what it will run, `batchgap run FILE` runs it.
name: {name}
question: {_OWN_QUESTION if own else _QUESTION}
"""
    return "\n".join(
        (
            _OWN_HEAD + head if own else head,
            _own_data(data) if own else _MNIST,
            _OWN_NETWORK.format(network=network) if network else _MLP,
            _OWN_REST if own else _REST,
        )
    )


def _own_data(data: str | None) -> str:
    text = _OWN_DATA.format(data=data) if data else _MNIST
    return text + _VALIDATION


def write_study(path: Path, network: str | None, data: str | None) -> None:
    """Writes a new study file, after checking that it is a valid one.

    Raises:
        StudyError: if the file exists already, or an import string is malformed.
    """
    if path.exists() or path.is_symlink():  # a link that leads nowhere would be written through
        raise StudyError([f"{path}: exists already; name another file, or remove it first"])
    name = path.stem if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem) else "my-study"
    text = study_text(name, network, data)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "study.yaml"
        draft.write_text(text, encoding="utf-8")
        try:
            load_spec(draft)
        except StudyError as error:
            raise StudyError(
                [line.replace(str(draft), str(path)) for line in error.problems]
            ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
