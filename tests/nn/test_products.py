"""Affine maps by oneDNN against the same maps by plain products."""

import pytest
import torch

from neuroalign.nn import products
from neuroalign.nn.products import LEAST_WORK, affine, worth_onednn
from neuroalign.nn.random import RandomStreams

SIZES = [(120, 300, 300), (700, 200, 80), (40, 500, 520)]  # the second has too few columns for dW

onednn = pytest.mark.skipif(
    not products._onednn_is_faster(), reason="oneDNN is used on processors with AVX-512"
)


def maps(
    rows: int, n_in: int, n_out: int, replicates: int = 1, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    streams = RandomStreams(range(replicates))
    shapes = [(rows, n_in), (n_in, n_out), (1, n_out)]
    return [streams.normal(*shape).to(dtype).requires_grad_() for shape in shapes]


def with_gradients(inputs: list[torch.Tensor], slope: float | None) -> list[torch.Tensor]:
    """Return the map's result and its gradients, by a loss whose own gradient varies."""
    result = affine(*inputs, slope)
    gradients = torch.autograd.grad(result.square().sum() / result.numel(), inputs)
    return [result.detach(), *gradients]


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Allow what sums of some hundred terms lose in single precision."""
    apart = float((found.double() - expected.double()).abs().max())
    assert apart < 5e-6 * float(expected.abs().max())


@onednn
@pytest.mark.parametrize("replicates", [1, 3])
@pytest.mark.parametrize("slope", [None, 0.01])
@pytest.mark.parametrize("size", SIZES)
def test_result_and_gradients_equal_those_in_double_precision(
    size: tuple[int, int, int], slope: float | None, replicates: int
) -> None:
    inputs = maps(*size, replicates)
    assert worth_onednn(inputs[0], inputs[1])
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    assert not worth_onednn(exact[0], exact[1])
    pairs = zip(with_gradients(inputs, slope), with_gradients(exact, slope), strict=True)
    for found, expected in pairs:
        assert_near(found, expected)
        assert found.is_contiguous()


@onednn
@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch's own, when its switch is turned
def test_both_ways_agree_and_torchs_switch_chooses() -> None:
    inputs = maps(*SIZES[0], replicates=2)
    ours = with_gradients(inputs, 0.01)
    with torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]
        assert not worth_onednn(inputs[0], inputs[1])
        plain = with_gradients(inputs, 0.01)
    for one, other in zip(ours, plain, strict=True):
        assert_near(one, other)


@onednn
def test_a_replicate_maps_as_it_would_alone_bit_for_bit() -> None:
    inputs = maps(*SIZES[0], replicates=3)
    result = affine(*inputs, 0.01)
    upstream = RandomStreams([7, 8, 9]).normal(*result.shape[1:])
    gradients = torch.autograd.grad(result, inputs, upstream)
    alone = [tensor[1:2].detach().requires_grad_() for tensor in inputs]
    result_alone = affine(*alone, 0.01)
    gradients_alone = torch.autograd.grad(result_alone, alone, upstream[1:2])
    assert torch.equal(result[1:2], result_alone)
    for whole, one in zip(gradients, gradients_alone, strict=True):
        assert torch.equal(whole[1:2], one)


@onednn
def test_strided_inputs_and_gradients_are_understood() -> None:
    x, weight, bias = maps(*SIZES[0])
    strided = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    assert not strided.is_contiguous()
    result = affine(strided, weight, bias)
    torch.testing.assert_close(result, affine(x, weight, bias))
    (gradient,) = torch.autograd.grad(result.sum(), strided)  # of a sum: every stride is zero
    torch.testing.assert_close(gradient, weight.sum(2, keepdim=True).mT.expand_as(x).detach())


@onednn
@pytest.mark.parametrize("slope", [None, 0.01])
def test_what_is_not_finite_reaches_its_own_row_and_no_other(slope: float | None) -> None:
    x, weight, bias = maps(*SIZES[0])
    broken = x.detach().clone()
    broken[0, 3, 5] = torch.nan
    result = affine(broken, weight, bias, slope)[0]
    assert result[3].isnan().all()
    assert result[[0, 1, 2, 4]].isfinite().all()


def test_small_double_and_autocast_products_stay_with_the_plain_way() -> None:
    x, weight, _ = maps(129, 64, 64)
    assert LEAST_WORK > 129 * 64 * 64
    assert not worth_onednn(x, weight)
    x, weight, bias = maps(*SIZES[0])
    assert not worth_onednn(x.double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not worth_onednn(x, weight)
        assert affine(x, weight, bias).dtype == torch.bfloat16


def test_a_torch_without_the_operator_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = maps(*SIZES[0])
    expected = torch.nn.functional.leaky_relu(x[0] @ weight[0] + bias[0], 0.2)
    monkeypatch.setattr(products, "_onednn_is_faster", lambda: False)
    assert not worth_onednn(x, weight)
    torch.testing.assert_close(affine(x, weight, bias, 0.2)[0], expected, rtol=1e-4, atol=1e-4)
