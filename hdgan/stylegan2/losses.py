"""Losses of StyleGAN2, one for each sample: non-saturating logistic, R1, path length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.gradients import of_inputs_only


def generator_loss(fake_logits: Tensor) -> Tensor:
    """-log D(G(z)): Goodfellow et al. 2014, section 3, non-saturating form. (N, 1) -> (N, 1)."""
    return F.softplus(-fake_logits)


def real_loss(real_logits: Tensor) -> Tensor:
    """-log D(x). (N, 1) -> (N, 1)."""
    return F.softplus(-real_logits)


def fake_loss(fake_logits: Tensor) -> Tensor:
    """-log (1 - D(G(z))). (N, 1) -> (N, 1)."""
    return F.softplus(fake_logits)


def r1_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """Squared norm of the gradient at each real image: Mescheder et al. 2018, equation 9. -> (N,).

    `real_images` (N, 3, R, R) are the images before augmentation.
    """
    with of_inputs_only():
        (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3))


def path_lengths(images: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """How far an image moves per step in w: Karras et al. 2020a, section 3.2. -> (N,).

    `noise` is (N, 3, R, R) of deviation 1/R; `w` is (N, num_ws, w_dim), of which `images` were made.
    """
    with of_inputs_only():
        (gradient,) = torch.autograd.grad((images * noise).sum(), w, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()
