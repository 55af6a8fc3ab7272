"""Moves synthetic input to where the norms see their running statistics.

A network's own statistics say what its data look like. A few gradient steps on the input bring the moments at all
norms towards them; our own, cheap, and half the error of plain textures on the layers that see the input first.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dropcheck.simulate.called import as_asked
from dropcheck.simulate.copies import TINY, by_channel, mean_var
from dropcheck.simulate.masks import bernoulli
from dropcheck.simulate.synthetic import Synthetic
from dropcheck.simulate.where import Whereabouts

_RATE, _MEMORY, _SCALE_MEMORY = 0.2, 0.7, 0.999  # with so few steps, less memory than usual


class _Moments(torch.autograd.Function):
    """Mean and variance per channel, ``(channels,)``, of ``(batch, channels, places)``.

    The gradient is taken from the input itself, which the norm keeps anyway: autograd would keep it twice more.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = mean_var(y)
        ctx.save_for_backward(y, mean)
        return mean[:, 0], var[:, 0]

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_var: Tensor) -> Tensor:
        y, mean = ctx.saved_tensors
        count = y.shape[0] * y.shape[2]
        scale = of_var[:, None] * (2.0 / count)
        slope: Tensor = torch.addcmul(of_mean[:, None] / count - scale * mean, y, scale)
        return slope


_moments: Callable[[Tensor], tuple[Tensor, Tensor]] = _Moments.apply


class _Gaps(TorchFunctionMode):
    """Collects how far each norm's input is from the running statistics, dropout on."""

    def __init__(self, where: Whereabouts, judged: Set[str]) -> None:
        super().__init__()
        self.where, self.judged = where, judged
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        node = self.where.node(func, args)
        if func is F.batch_norm:
            return self._norm(node, *args, **kwargs or {})
        return self._dropout(*args, **kwargs or {}) if func is F.dropout else as_asked(func, args, kwargs or {})

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """F.dropout in less time."""
        if inplace or not training or not 0.0 < p < 1.0:
            return F.dropout(input, p, training, inplace)
        return input * bernoulli(input.shape, 1.0 - p, input).div_(1.0 - p)

    def _norm(
        self,
        node: str,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if running_mean is None or running_var is None:
            return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
        usable = running_mean.isfinite() & running_var.isfinite() & (running_var > TINY)
        if node in self.judged and usable.any() and input.requires_grad:
            mean, var = (moment[usable] for moment in _moments(by_channel(input)))
            known = running_var[usable] + eps
            off = (mean - running_mean[usable]).square() / known
            self.found.append((off + 0.5 * (var / known + 1e-3).log().square()).mean())
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, 0.0, eps)


def matched(model: nn.Module, given: Synthetic, steps: int, where: Whereabouts, judged: Set[str]) -> Synthetic:
    """``given`` with its main input after ``steps`` gradient steps; as it is where no norm depends on that input.

    ``judged``: nodes of the norms to be matched.
    """
    if given.main is None:
        return given
    x = given.leaves[given.main].detach().clone().requires_grad_(True)
    first, second = torch.zeros_like(x), torch.zeros_like(x)  # Adam by hand: torch.optim takes seconds to import
    for t in range(1, steps + 1):
        with torch.enable_grad():
            copy = x.clone()  # a forward may write into its input
        slope = _slope(model, given.with_main(copy), x, _Gaps(where, judged))
        if slope is None or not slope.isfinite().all():
            break
        with torch.no_grad():
            first.lerp_(slope, 1.0 - _MEMORY)
            second.lerp_(slope.square(), 1.0 - _SCALE_MEMORY)
            x.sub_(_RATE * (first / (1 - _MEMORY**t)) / ((second / (1 - _SCALE_MEMORY**t)).sqrt() + 1e-8))
    return given.with_main(x.detach())


def _slope(model: nn.Module, given: Synthetic, x: Tensor, gaps: _Gaps) -> Tensor | None:
    """The gradient of all gaps together with respect to ``x``, from which the main input of ``given`` was made."""
    with torch.enable_grad():
        args, kwargs = given.arguments()
        with gaps.where.watching(), gaps:
            model(*args, **kwargs)
        if not gaps.found:
            return None
        (slope,) = torch.autograd.grad(torch.stack(gaps.found).sum(), [x], allow_unused=True)
        return slope
