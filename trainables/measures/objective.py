"""The training loss as a function of one flat vector of weights, with gradient and Hessian.

f(x) = 1/N sum_i loss(network(x; input_i), target_i), the loss being the trial's `training.loss`,
where x holds every parameter that requires a gradient, in `named_parameters` order. Normalization
statistics are part of f and stay fixed. The network is called functionally, so that its own
parameters are never written: they are bit-identical after any use, an exception included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd

from trainables.methods.losses import PerExample, cross_entropy

CHUNK_SIZE_CONVOLUTIONS = 64
CHUNK_SIZE = 1024
"""Examples per pass, measured on a CPU: 512-2048 are equal for MLPs, 64 best for convolutions."""
GRAPH_BUDGET_BYTES = 2**30
"""Memory for double-backward graphs kept between Hessian-vector products (assumed)."""


@dataclass(frozen=True, kw_only=True)
class MeasureValue:
    """One row of the measures table: a value and how it was come by."""

    quantity: str
    method: str
    value: float
    evaluations: int
    """Passes over all examples, values, gradients or Hessian-vector products; of the noise scale
    and batch sharpness, gradients and products over batches; of the gradient probe, gradients."""
    iterations: int
    stop_reason: str
    start_loss: float | None = None
    standard_error: float | None = None
    layer: str | None = None
    index: int = 0
    """Numbers eigenvalues from the outermost one."""
    other_trial_id: str | None = None
    """The trial it is compared with."""
    starts: Mapping[str, float] | None = None
    """Of the largest of several starts: the value from each, by name."""
    starts_near_largest: int | None = None
    """How many of them came within .5 % of it."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One row of the curves table: `value` of `quantity` at `x`, on a plane at (x, y)."""

    quantity: str
    x: float
    value: float
    y: float | None = None
    method: str = ""
    layer: str | None = None
    standard_error: float | None = None
    split: str = "train"
    index: int = 0
    other_trial_id: str | None = None


Found = Sequence[MeasureValue | CurvePoint]
"""What a measure gives: one value at least, and the points of its curves, if it has any."""


class MeasureInterrupted(Exception):
    """`should_stop` said so between two pieces of a measure; nothing was changed."""


Chunk = tuple[Tensor, Tensor]


class Objective:
    """f, its gradient and its Hessian at any x, over examples held in memory.

    Several quantities may use one objective in turn; `evaluations` counts on.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        chunk_size: int | None = None,
        *,
        loss: PerExample = cross_entropy,
        should_stop: Callable[[], bool] | None = None,
        graph_budget_bytes: int = GRAPH_BUDGET_BYTES,
    ) -> None:
        """Take the network as it is: in eval mode, normalization statistics final.

        Args:
            model: Outputs [batch, num_classes] from inputs; parameters of one floating type.
            inputs: [N, ...], normalized, on the model's device.
            targets: Labels of N examples.
            chunk_size: Examples per forward pass; default 64 with convolutions, else 1024.
            loss: Of one example.
            should_stop: Asked between chunks; True raises `MeasureInterrupted`.
            graph_budget_bytes: Memory that Hessian-vector products may keep between calls.
        """
        assert not model.training, "measures take the network in eval mode"
        assert len(inputs) == len(targets) > 0
        parameters = [p for p in model.parameters() if p.requires_grad]
        self._model = model
        self._places = places(model)
        self._shapes = [p.shape for p in parameters]
        self._sizes = [p.numel() for p in parameters]
        self.start: Tensor = weight_vector(model)
        self.evaluations = 0
        self._per_example = loss
        self._should_stop = should_stop or (lambda: False)
        self._graph_budget_bytes = graph_budget_bytes
        self._chunk_size = size = chunk_size or default_chunk_size(model)
        self._examples: Chunk = (inputs, targets)
        self.num_examples = len(inputs)
        self._chunks: list[Chunk] = list(zip(inputs.split(size), targets.split(size), strict=True))

    @property
    def model(self) -> nn.Module:
        """The network, whose own parameters stay as they are."""
        return self._model

    @property
    def targets(self) -> Tensor:
        """Labels of the N examples."""
        return self._examples[1]

    def over(self, indices: Tensor) -> Objective:
        """The same f over some of the examples only. indices: [b], on any device."""
        inputs, targets = (part[indices.to(part.device)] for part in self._examples)
        return Objective(
            self._model,
            inputs,
            targets,
            self._chunk_size,
            loss=self._per_example,
            should_stop=self._should_stop,
            graph_budget_bytes=self._graph_budget_bytes,
        )

    def pieces(self, x: Tensor) -> list[Tensor]:
        """x [n] as one view per parameter."""
        parts = x.split(self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def value(self, x: Tensor) -> float:
        """f(x), summed over examples in float64. x: [n]."""
        leaves = self.pieces(x)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        with torch.no_grad():
            for chunk in self._chunks:
                self._check_stop()
                total += self._loss(leaves, chunk)
        self.evaluations += 1
        return total.item()

    def value_and_gradient(self, x: Tensor, label: float | None = None) -> tuple[float, Tensor]:
        """f(x) and its gradient [n], in x's type.

        Args:
            x: [n].
            label: Takes the place of every example's target: the loss of always answering so.
        """
        leaves = self._leaves(x)
        gradient = torch.zeros_like(self.start)
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for inputs, targets in self._chunks:
            self._check_stop()
            wanted = targets if label is None else torch.full_like(targets, label)
            loss = self._loss(leaves, (inputs, wanted))
            parts = grad(loss, leaves, materialize_grads=True)
            total += loss.detach()
            self._add(gradient, parts)
        self.evaluations += 1
        return total.item(), gradient

    def directional_derivatives(self, x: Tensor, direction: Tensor) -> Tensor:
        """v' g_i for the gradient g_i at x of every example's loss, [N], in float64.

        Two backward passes: v' times the gradient of sum_i u_i loss_i is linear in u, and its
        derivative by u_i is what is wanted.

        Args:
            x: [n].
            direction: v, [n].
        """
        leaves, found = self._leaves(x), []
        for chunk in self._chunks:
            self._check_stop()
            with sdpa_kernel(SDPBackend.MATH):
                losses = self._losses(leaves, chunk)
                weights = torch.ones_like(losses, requires_grad=True)
                parts = grad(
                    (weights * losses).sum(), leaves, create_graph=True, materialize_grads=True
                )
            along = [(g * v).sum() for g, v in zip(parts, self.pieces(direction), strict=True)]
            found.append(grad(torch.stack(along).sum(), weights)[0])
        self.evaluations += 1
        return torch.cat(found)

    def hessian_vector_products(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """The map V [k, n] -> V H(x) [k, n], H the Hessian of f at x.

        Pearlmutter's product by two backward passes. The graph of the gradient is built once and
        kept for as many chunks as fit in `graph_budget_bytes`, and built again in each call (once
        for all of its k vectors) for the others; it is freed with the returned function.
        """
        leaves = self._leaves(x)
        per_example = self._graph_bytes_per_example(leaves)
        kept: list[tuple[Tensor, ...]] = []
        room = float(self._graph_budget_bytes)
        for chunk in self._chunks:
            room -= per_example * len(chunk[1])
            if room < 0:
                break
            self._check_stop()
            kept.append(self._gradient_graph(leaves, chunk))

        def products(vectors: Tensor) -> Tensor:
            result = torch.zeros_like(vectors)
            for position, chunk in enumerate(self._chunks):
                in_memory = position < len(kept)
                graph = kept[position] if in_memory else self._gradient_graph(leaves, chunk)
                for vector, row in zip(vectors, result, strict=True):
                    self._check_stop()
                    self._add(row, self._second_backward(graph, leaves, vector))
            self.evaluations += len(vectors)
            return result

        return products

    def _loss(self, pieces: Sequence[Tensor], chunk: Chunk) -> Tensor:
        """This chunk's share of f: summed in float64, divided by all N."""
        return self._losses(pieces, chunk).sum() / self.num_examples

    def _losses(self, pieces: Sequence[Tensor], chunk: Chunk) -> Tensor:
        """Of every example, [b], in float64."""
        inputs, targets = chunk
        pairs = zip(self._places, pieces, strict=True)
        weights = {place: piece for named, piece in pairs for place in named}
        # Torch's own way of tying names writes to a module that has several of them.
        outputs = functional_call(self._model, weights, (inputs,), tie_weights=False)
        return self._per_example(outputs, targets).double()

    def _gradient_graph(self, leaves: Sequence[Tensor], chunk: Chunk) -> tuple[Tensor, ...]:
        # Fused attention kernels have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            loss = self._loss(leaves, chunk)
            return grad(loss, leaves, create_graph=True, materialize_grads=True)

    def _second_backward(
        self, graph: Sequence[Tensor], leaves: Sequence[Tensor], vector: Tensor
    ) -> tuple[Tensor, ...]:
        pairs = [(g, v) for g, v in zip(graph, self.pieces(vector), strict=True) if g.requires_grad]
        outputs, vectors = zip(*pairs, strict=True)
        return grad(outputs, leaves, vectors, retain_graph=True, materialize_grads=True)

    def _graph_bytes_per_example(self, leaves: Sequence[Tensor]) -> float:
        """Bytes that the gradient's graph holds per example, beyond what is there anyway."""
        inputs, targets = (part[:8] for part in self._chunks[0])
        weights = (*leaves, *self._model.parameters(), *self._model.buffers())
        held = {t.untyped_storage().data_ptr(): 0 for t in (inputs, targets, *weights)}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held.setdefault(storage.data_ptr(), storage.nbytes())
            return tensor.detach()  # the tensor itself would keep its own graph alive

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            graph = self._gradient_graph(leaves, (inputs, targets))
        del graph
        return sum(held.values()) / len(targets)

    def _leaves(self, x: Tensor) -> list[Tensor]:
        return [piece.requires_grad_() for piece in self.pieces(x.detach())]

    def _add(self, flat: Tensor, parts: Sequence[Tensor]) -> None:
        for view, part in zip(self.pieces(flat), parts, strict=True):
            view += part

    def _check_stop(self) -> None:
        if self._should_stop():
            raise MeasureInterrupted("a measure was stopped before its end")


def weight_vector(model: nn.Module) -> Tensor:
    """x [n]: every parameter that requires a gradient, in `named_parameters` order, as a copy.

    Buffers, such as normalization statistics, are no part of it. torch's `parameters_to_vector`
    refuses parameters in channels_last.
    """
    return torch.cat([p.detach().reshape(-1) for p in model.parameters() if p.requires_grad])


def places(model: nn.Module) -> list[list[str]]:
    """The names under which each parameter that requires a gradient is to be replaced.

    One for every module that holds it, in `named_parameters` order; a module that is registered
    under several names counts once.
    """
    names: dict[nn.Parameter, list[str]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, False, remove_duplicate=False):
            if parameter.requires_grad:
                names.setdefault(parameter, []).append(name)
    return list(names.values())


def default_chunk_size(model: nn.Module) -> int:
    """Examples per forward pass that keep activations in a CPU's cache, and a GPU busy."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    convolutions = any(isinstance(module, _ConvNd) for module in model.modules())
    return CHUNK_SIZE_CONVOLUTIONS if convolutions and on_cpu else CHUNK_SIZE
