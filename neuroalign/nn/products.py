"""Affine maps of replicates, by whichever of torch's own libraries is the faster.

torch computes float32 products by MKL on a CPU, which leaves half of an AMD processor with
AVX-512 unused; oneDNN, which torch computes bfloat16 and convolutions by, does not. It also adds
the bias and rectifies while the product is at hand. torch offers it for plain float32 tensors as
an operator for its own compiler only; where that is missing, all is done by MKL.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# multiplications from which its start and the way through Python, some 50 µs, are worth their while
LEAST_WORK: Final = 10_000_000
# columns from which it is also the faster for the weights' gradient, whose input lies transposed
LEAST_COLUMNS: Final = 128


def affine(x: Tensor, weight: Tensor, bias: Tensor, negative_slope: float | None = None) -> Tensor:
    """Return x · weight + bias for each replicate, rectified if a slope is given.

    Parameters
    ----------
    x : Tensor of shape (replicate, row, in)
        What is mapped.
    weight : Tensor of shape (replicate, in, out)
        One map per replicate.
    bias : Tensor of shape (replicate, 1, out)
        Added to every row.
    negative_slope : float, optional
        Leaky rectifier's slope below zero, more than zero; nothing is rectified without it.

    Returns
    -------
    Tensor of shape (replicate, row, out)
    """
    if worth_onednn(x, weight):
        mapped = _OneDNNAffine.apply(x, weight, bias, negative_slope)  # type: ignore[no-untyped-call]
        return torch.as_tensor(mapped)
    product = torch.baddbmm(bias, x, weight)
    if negative_slope is None:
        return product
    # in place: nothing else needs the product, and memory is what a small step waits for
    return torch.nn.functional.leaky_relu(product, negative_slope, inplace=True)


def worth_onednn(x: Tensor, weight: Tensor) -> bool:
    """Say whether oneDNN computes this product, which depends on its size and the machine alone.

    Nothing is timed: a fit repeated on one machine must take the same way. Switching torch's
    oneDNN off (`torch.backends.mkldnn.flags(enabled=False)`) is respected.
    """
    return (
        x.shape[1] * weight.shape[1] * weight.shape[2] >= LEAST_WORK
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and _onednn_is_faster()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


@functools.cache
def _onednn_is_faster() -> bool:
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


class _OneDNNAffine(torch.autograd.Function):
    """The map and its gradient, each replicate by itself."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, negative_slope: float | None
    ) -> Tensor:
        x = x.contiguous()
        rows = [
            _product(one, w.T, b[0], negative_slope)
            for one, w, b in zip(x, weight, bias, strict=True)
        ]
        result = _together(rows)
        ctx.negative_slope = negative_slope
        ctx.save_for_backward(x, weight, None if negative_slope is None else result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, result = ctx.saved_tensors
        gradient = gradient.contiguous()
        if result is not None:
            gradient = torch.ops.aten.leaky_relu_backward(
                gradient, result, ctx.negative_slope, True
            )
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        of_x = of_weight = of_bias = None
        if needs_x:
            of_x = _together([_product(g, w) for g, w in zip(gradient, weight, strict=True)])
        if needs_weight and weight.shape[2] >= LEAST_COLUMNS:
            of_weight = _together(
                [_product(one.T, g.T) for one, g in zip(x, gradient, strict=True)]
            )
        elif needs_weight:
            of_weight = torch.bmm(x.transpose(1, 2), gradient)
        if needs_bias:
            of_bias = gradient.sum(1, keepdim=True)
        return of_x, of_weight, of_bias, None


def _product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, negative_slope: float | None = None
) -> Tensor:
    """Return x · weightᵀ + bias by oneDNN, from x (row, in) and weight (out, in)."""
    then = ("none", []) if negative_slope is None else ("leaky_relu", [negative_slope])
    product = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  the only way in for plain tensors
    return torch.as_tensor(product(x, weight, bias, *then, ""))


def _together(parts: list[Tensor]) -> Tensor:
    """Stack replicates; one alone is not copied."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
