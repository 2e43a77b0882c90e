"""Where half precision is fast."""

from __future__ import annotations

import torch

from training.devices import has_bfloat16


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device multiplies it in hardware, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
