"""The mapping networks: latents and labels to w (Karras et al. 2019, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdgan.stylegan2.layers import FullyConnected
from hdgan.stylegan2.ops import normalise_second_moment
from tiling.errors import InputError


class LabelledMapping(nn.Module):
    """Latents and labels to w: Karras et al. 2019, section 2, with leaky ReLU in every layer, the last too.

    `z_dim` or `c_dim` may be 0: a discriminator's mapping has no latent, an unconditional generator's no label.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.layers = z_dim, c_dim, w_dim, layers
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, w_dim)
        widths = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * layers
        for i in range(layers):
            layer = FullyConnected(widths[i], widths[i + 1], activation="lrelu", lr_multiplier=0.01)
            self.add_module(f"fc{i}", layer)

    def map(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """(N, z_dim), (N, c_dim) -> (N, w_dim)."""
        parts = []
        if self.z_dim > 0:
            parts.append(normalise_second_moment(_checked("z", z, self.z_dim)))
        if self.c_dim > 0:
            parts.append(normalise_second_moment(self.embed(_checked("c", c, self.c_dim))))
        x = torch.cat(parts, dim=1)
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x


def _checked(name: str, value: Tensor | None, width: int) -> Tensor:
    if value is None or value.ndim != 2 or value.shape[1] != width:
        received = "nothing" if value is None else tuple(value.shape)
        raise InputError(f"{name} must be (N, {width}) for this network, not {received}")
    return value.float()


class MappingNetwork(LabelledMapping):
    """The generator's mapping network, with truncation towards the mean w (Karras et al. 2019, appendix B)."""

    w_avg: Tensor

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, layers: int, *, num_ws: int) -> None:
        super().__init__(z_dim, c_dim, w_dim, layers)
        self.num_ws = num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """(N, z_dim), (N, c_dim) -> (N, num_ws, w_dim); truncation psi acts on the first `cutoff` ws (None: all)."""
        w = self.map(z, c)[:, None].expand(-1, self.num_ws, -1)
        if psi == 1:
            return w
        truncated = self.w_avg.lerp(w, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)
