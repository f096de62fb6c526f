"""Batch statistics made explicit: whole batch, ghost groups, across workers.

Batch normalization computes, per channel and over a *group* of examples,

    y = (x - mean) / sqrt(variance + eps) * weight + bias.

Here a group is `ghost_batch_size` consecutive positions of the global batch (Hoffer, Hubara &
Soudry 2017, "Train longer, generalize better"), or the whole of it, and never what one worker
happens to hold: where several workers share a group, its mean and variance, and the gradients
through them, are those of all its examples. Ioffe & Szegedy 2015 is the case of one group.

Running statistics move once per group, in stream order, with the full momentum and the unbiased
variance, as if torch's own layer had been called on one group after the other; Hoffer et al.
too move theirs once per ghost batch with the full momentum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from trainables.collective import Collective


@dataclass(kw_only=True, slots=True)
class NormalizationState:
    """What the normalization layers of one model share; the training loop sets it.

    Each worker's micro-batch holds, in rank order, consecutive positions of the current
    world_size x local examples of the stream.
    """

    collective: Collective = field(default_factory=Collective)
    ghost_batch_size: int | None = None
    """Examples normalized together in training; None: all that the workers now hold."""
    update_statistics: bool = True
    """Whether a training forward moves the running statistics; see `no_update`."""
    evaluation_statistics: Literal["running", "batch", "recalibrate"] = "running"
    """What an evaluation forward normalizes by; `recalibrate` also averages into the buffers."""


def replace_batch_norm(model: nn.Module) -> NormalizationState | None:
    """Make every batch normalization of the model a `BatchNorm`, in place, with one shared state.

    Parameters, buffers, hooks and the keys of the state dict stay the very same.

    Args:
        model: any network, also one that is itself a batch normalization.

    Returns:
        The shared state, or None where the model has no batch normalization.

    Raises:
        ValueError: a layer has `momentum=None`, computes something of its own, or is lazy.
    """
    layers = {
        name or "the model itself": module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
    }
    for name, layer in layers.items():
        _check_replaceable(name, layer)
    state = NormalizationState()
    for layer in layers.values():
        # The class changes, not the object, as torch's lazy modules do: whoever else refers to
        # the layer (a list, a second path, an optimizer, a hook) keeps referring to it.
        layer.__class__ = BatchNorm
        assert isinstance(layer, BatchNorm)
        layer.__dict__.pop("process_group", None)  # SyncBatchNorm's; it cannot be copied
        layer.state = state
    return state if layers else None


def state_of(model: nn.Module) -> NormalizationState | None:
    """The shared state of a model's `BatchNorm` layers; a deep copy of a model has its own."""
    return next((m.state for m in model.modules() if isinstance(m, BatchNorm)), None)


@contextmanager
def no_update(state: NormalizationState | None) -> Iterator[None]:
    """Training forwards in here leave running statistics alone (None: there are none)."""
    with _changed(state, "update_statistics", False):
        yield


@contextmanager
def use_batch_statistics(state: NormalizationState | None) -> Iterator[None]:
    """Evaluation forwards in here normalize by the statistics of the tensor they are given."""
    with _changed(state, "evaluation_statistics", "batch"):
        yield


def recalibrate(model: nn.Module, state: NormalizationState, batches: Iterable[Tensor]) -> None:
    """Set running statistics to plain means over fixed chunks, in one pass.

        running = 1/K sum_k statistic(chunk k),

    the statistic being a chunk's mean and its unbiased variance. Within a chunk each layer
    normalizes by that chunk, as in training; all else (dropout) is as in evaluation. Each worker
    computes it by itself. `num_batches_tracked` becomes K.

    Args:
        model: the model whose buffers are overwritten; the trial's callers pass a copy.
        state: the state of that model, `state_of(model)`.
        batches: K >= 1 inputs, on the model's device.
    """
    assert state_of(model) is state, "the state must be that of the (copied) model"
    training = {module: module.training for module in model.modules()}
    for layer in model.modules():
        if isinstance(layer, BatchNorm):
            layer.reset_running_stats()
    try:
        model.eval()
        with torch.no_grad(), _changed(state, "evaluation_statistics", "recalibrate"):
            for batch in batches:
                model(batch)
    finally:
        for module, mode in training.items():
            module.training = mode


class BatchNorm(_BatchNorm):
    """Batch normalization of [N, C] or [N, C, ...] over groups that `state` defines.

    Made by `replace_batch_norm` only. Statistics are float32 for bf16 inputs.
    """

    state: NormalizationState
    momentum: float  # never None, `replace_batch_norm` sees to it
    # torch's declaration, which mypy cannot narrow: None where track_running_stats is off.
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def forward(self, input: Tensor) -> Tensor:
        """Normalize by the groups' statistics in training, else as `evaluation_statistics`."""
        if not self.training:
            return self._evaluate(input)
        world_size = self.state.collective.world_size
        local = len(input)
        ghost = self.state.ghost_batch_size or local * world_size
        if ghost == 1 and input[0, 0].numel() == 1:
            raise ValueError(
                f"ghost_batch_size: {self.state.ghost_batch_size} leaves one value per channel "
                f"for an input of shape {tuple(input.shape)}, which has no variance; use 2 or more"
            )
        if ghost == local and world_size == 1:
            return self._whole(input)
        if local % ghost == 0:
            return self._local_groups(input, local // ghost)
        assert ghost % local == 0 and local * world_size % ghost == 0, (
            f"groups of {ghost} do not fit {world_size} worker(s) holding {local} examples each"
        )
        return self._shared_group(input, ghost // local)

    def _updates(self) -> bool:
        return self.track_running_stats and self.state.update_statistics

    def _by_own_statistics(
        self, x: Tensor, running: tuple[Tensor | None, Tensor | None], momentum: float
    ) -> Tensor:
        """Torch's layer on all of x as one group; it moves `running`, mean and variance."""
        return F.batch_norm(x, *running, self.weight, self.bias, True, momentum, self.eps)

    def _whole(self, x: Tensor) -> Tensor:
        if not self._updates():
            return self._by_own_statistics(x, (None, None), 0.0)
        self.num_batches_tracked.add_(1)
        return self._by_own_statistics(x, (self.running_mean, self.running_var), self.momentum)

    def _local_groups(self, x: Tensor, groups: int) -> Tensor:
        """One or more whole groups in this worker's hands."""
        means, variances = _scratch(x, groups), _scratch(x, groups)
        if x.dim() == 2:
            y = self._groups_as_channels(x, means, variances)
        else:
            # With spatial positions one call per group beats moving the tensor twice: 1.3
            # against 4 times the whole-batch call for 8 groups of 32x64x32x32, channels last.
            parts = zip(x.split(len(x) // groups), means, variances, strict=True)
            y = torch.cat([self._by_own_statistics(part, (m, v), 1.0) for part, m, v in parts])
        if self._updates():
            rows = self.state.collective.gather(torch.stack((means, variances), dim=1))
            self._move_running(rows[:, 0], rows[:, 1])
        return y

    def _groups_as_channels(self, x: Tensor, means: Tensor, variances: Tensor) -> Tensor:
        """All groups of [N, C] in one call, each group's channels beside the others'.

        `means` and `variances` (unbiased), [groups, C], are overwritten by the groups'.
        """
        groups = len(means)
        wide = x.view(groups, -1, self.num_features).transpose(0, 1).flatten(1)
        weight, bias = (None if p is None else p.repeat(groups) for p in (self.weight, self.bias))
        running = means.view(-1), variances.view(-1)
        y = F.batch_norm(wide, *running, weight, bias, True, 1.0, self.eps)
        return y.view(-1, groups, self.num_features).transpose(0, 1).flatten(0, 1)

    def _shared_group(self, x: Tensor, members: int) -> Tensor:
        """This worker's part of a group that `members` consecutive workers hold."""
        collective = self.state.collective
        parts = collective.gather(torch.stack(_statistics(x))[None])
        part_means, part_variances = parts.view(-1, members, 2, self.num_features).unbind(2)
        # The parts are of equal size: the variance is the mean of theirs plus the variance of
        # their means (Chan, Golub & LeVeque 1983); no difference of large squares.
        means = part_means.mean(dim=1)  # [groups, C]
        variances = part_variances.mean(dim=1) + part_means.var(dim=1, correction=0)
        if self._updates():
            count = members * x.numel() // self.num_features
            self._move_running(means, variances * (count / (count - 1)))
        own = collective.rank // members
        y: Tensor = _NormalizeShared.apply(
            x, self.weight, self.bias, means, variances, self.eps, own, collective
        )
        return y

    def _move_running(self, means: Tensor, variances: Tensor) -> None:
        """Running statistics after one move per group, in order; both [groups, C].

        running <- (1-m)^G running + sum_i m (1-m)^(G-1-i) statistic_i
        """
        groups, keep = len(means), 1.0 - self.momentum
        age = torch.arange(groups - 1, -1, -1, device=means.device, dtype=means.dtype)
        weights = self.momentum * keep**age
        self.running_mean.addmv_(means.T, weights, beta=keep**groups)
        self.running_var.addmv_(variances.T, weights, beta=keep**groups)
        self.num_batches_tracked.add_(groups)

    def _evaluate(self, x: Tensor) -> Tensor:
        mode, running = self.state.evaluation_statistics, (self.running_mean, self.running_var)
        if mode == "batch" or self.running_mean is None:
            return self._by_own_statistics(x, (None, None), 0.0)
        if mode == "running":
            return F.batch_norm(x, *running, self.weight, self.bias, False, 0.0, self.eps)
        # Counted per layer and not per chunk: a layer may be called more than once in a forward.
        self.num_batches_tracked.add_(1)
        return self._by_own_statistics(x, running, 1.0 / int(self.num_batches_tracked))


class _NormalizeShared(torch.autograd.Function):
    """Normalization by given group statistics, with the gradient through them.

    With u = (x - mean) / sqrt(variance + eps), and <.> the mean over the group's values on all
    the workers that hold it,

        dx = weight / sqrt(variance + eps) * (dy - <dy> - u <dy u>).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        means: Tensor,
        variances: Tensor,
        eps: float,
        own: int,
        collective: Collective,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, means, variances)
        ctx.eps, ctx.own, ctx.collective = eps, own, collective
        return F.batch_norm(x, means[own], variances[own], weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, means, variances = ctx.saved_tensors
        mean, variance = means[ctx.own], variances[ctx.own]
        if dy.stride() != x.stride():
            # The fused pass loses digits of bf16 sums where memory formats differ (torch 2.15).
            dy = torch.empty_like(x).copy_(dy)
        # Evaluation mode, weights only: sum(dy u) and sum(dy), each in one fused pass.
        _, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            dy, x, None, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        slots = means.new_zeros(len(means), 2, x.shape[1])
        slots[ctx.own] = torch.stack((dweight, dbias))
        members = ctx.collective.world_size // len(means)
        count = members * x.numel() // x.shape[1]
        mean_dyu, mean_dy = ctx.collective.sum(slots)[ctx.own] / count

        def spread(per_channel: Tensor) -> Tensor:
            return per_channel.view(-1, *[1] * (x.dim() - 2))

        inverse = torch.rsqrt(variance + ctx.eps)
        scale = inverse if weight is None else inverse * weight
        dx = dy.sub(spread(mean_dy)).mul_(spread(scale))
        dx.addcmul_(x - spread(mean), spread(scale * inverse * mean_dyu), value=-1)
        needed = ctx.needs_input_grad
        dweight, dbias = dweight if needed[1] else None, dbias if needed[2] else None
        return dx.to(x.dtype), dweight, dbias, *[None] * 5


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel, [C] each, in one fused pass."""
    # torch.var_mean is 4 to 30 times slower on a CPU. The buffers make bf16 inputs give float32.
    mean, variance = torch.ops.aten.batch_norm_update_stats(x, _scratch(x), _scratch(x), 0.0)
    return mean, variance


def _scratch(x: Tensor, *rows: int) -> Tensor:
    """Zeros of [*rows, C] for statistics of x, float32 at least."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return torch.zeros(*rows, x.shape[1], device=x.device, dtype=dtype)


def _check_replaceable(name: str, layer: _BatchNorm) -> None:
    kind = type(layer).__name__
    if isinstance(layer, LazyModuleMixin):
        raise ValueError(
            f"network: {name} is a {kind} whose size is not known yet; run the network on one "
            f"batch in build(), or use {kind.removeprefix('Lazy')} with its number of features"
        )
    if type(layer).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
        raise ValueError(
            f"network: {name} is a {kind}, a batch normalization with a forward() of its own, "
            "which cannot be given ghost or synchronized groups; use torch.nn.BatchNorm1d, 2d "
            "or 3d and put what it adds into a module after it"
        )
    if layer.momentum is None:
        raise ValueError(
            f"network: {name} has momentum=None (a cumulative average, which weighs the start of "
            "training like its end); give a momentum between 0 and 1, for example 0.1"
        )


@contextmanager
def _changed(state: NormalizationState | None, name: str, value: object) -> Iterator[None]:
    """One field of the state at another value for a while."""
    if state is None:
        yield
        return
    before = getattr(state, name)
    setattr(state, name, value)
    try:
        yield
    finally:
        setattr(state, name, before)
