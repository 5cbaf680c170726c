"""What penalties on gradients differentiate twice, in less time than torch by itself.

Torch computes the second derivative with respect to a weight as a convolution whose kernel is as large as the picture.
It is the same sum as in an ordinary gradient of a weight, which takes a fraction of the time (Karras et al. 2020,
``conv2d_gradfix`` of StyleGAN2-ADA's code). And it goes back through a leaky ReLU with a gradient of zeros.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class InputGradients(TorchFunctionMode):
    """Inside of the context, networks are made of what is below, whatever layers call it.

    Gradients that are taken inside, with ``create_graph``, are with respect to inputs only: weights get none there. A
    backward pass through them, behind the context, is as usual.

    Attributes:
        inside: whether the context is open.
    """

    inside = False

    def __enter__(self) -> Self:
        self.inside = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self.inside = False
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what stands in for it."""
        kwargs = kwargs or {}
        if func is torch.conv2d:
            return self._conv2d(*args, **kwargs)
        if func is F.leaky_relu:
            return _leaky_relu(*args, **kwargs)
        return func(*args, **kwargs)

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if isinstance(padding, str):
            return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        form = _Form(_pair(stride), _pair(padding), _pair(dilation), groups)
        y: Tensor = _Convolution.apply(input, weight, bias, form, self)
        return y


def _pair(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Form(NamedTuple):
    stride: list[int]
    padding: list[int]
    dilation: list[int]
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.conv2d(x, weight, bias, *self)

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Any, Any, Any]:
        """Gradients of input, weight and bias, or None for those that are not wanted."""
        found: tuple[Any, Any, Any] = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)], *self[:3], False, [0, 0], self.groups, list(wanted)
        )
        return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, form: _Form, context: InputGradients
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.form, ctx.context = form, context
        return form.forward(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        if ctx.context.inside:
            return _InputGradient.apply(grad, weight, x.detach(), ctx.form), None, None, None, None
        return *ctx.form.backward(grad, x, weight, ctx.needs_input_grad[:3]), None, None


class _InputGradient(torch.autograd.Function):
    """The gradient of a convolution's input, a bilinear function of the output's gradient and the weight."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor, x: Tensor, form: _Form) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.form = form
        gradient: Tensor = form.backward(grad, x, weight, (True, False, False))[0]
        return gradient

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        first, weight = ctx.saved_tensors
        of_first = ctx.form.forward(grad, weight) if ctx.needs_input_grad[0] else None
        of_weight = ctx.form.backward(first, grad, weight, (False, True, False))[1]
        return of_first, of_weight if ctx.needs_input_grad[1] else None, None, None


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    y: Tensor = _LeakyReLU.apply(input, negative_slope)
    return y


class _LeakyReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return F.leaky_relu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _LeakyReLUGradient.apply(grad, x.detach(), ctx.slope), None


class _LeakyReLUGradient(torch.autograd.Function):
    """Linear in the gradient, and constant in the input but for the sign."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        gradient: Tensor = torch.ops.aten.leaky_relu_backward(grad, x, slope, False)
        return gradient

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(grad, x, ctx.slope, False), None, None
