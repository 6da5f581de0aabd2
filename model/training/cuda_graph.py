"""A training step as one CUDA graph.

A step of a small network is some two thousand small kernels, and starting them one by one takes longer than they run.
Captured once, they are started together. Everything a step reads has to lie where it lay when it was captured, so
inputs are copied there; what it returns is overwritten by the next step.
"""

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

R = TypeVar("R")
# Before the capture: convolutions are tried out, optimisers make their state.
_EAGER_STEPS = 3
_log = logging.getLogger("animato.train")


class GraphedStep(Generic[R]):
    """Runs `learn` as it is for a few steps, then as a graph. If it cannot be captured, it goes on as it is."""

    def __init__(self, learn: Callable[[list[Tensor]], R]) -> None:
        """Wrap `learn`: a step that takes tensors of always the same shapes and waits for nothing on the host."""
        self._learn = learn
        self._eager_left = _EAGER_STEPS
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._result: R | None = None
        self._stream = torch.cuda.Stream()

    def __call__(self, inputs: list[Tensor]) -> R:
        """Take a step. Without a graph what is returned is new, with one it is valid until the next call."""
        if self._graph is None and self._eager_left > 0:
            self._eager_left -= 1
            return self._aside(inputs)
        if self._graph is None:
            try:
                self._capture(inputs)
            except RuntimeError as error:
                _log.warning("A step cannot be captured as a CUDA graph, and is slower for it: %s", error)
                self._graph, self._eager_left = None, 1 << 62
                return self._aside(inputs)
        assert self._graph is not None
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _aside(self, inputs: list[Tensor]) -> R:
        """Learn on a stream of its own, as the capture will: gradients belong to the stream that made them."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._learn(inputs)
        current.wait_stream(self._stream)
        return result

    def _capture(self, inputs: list[Tensor]) -> None:
        self._inputs = [values.clone() for values in inputs]
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._result = self._learn(self._inputs)
        self._graph = graph
