"""Where half precision is fast."""

from __future__ import annotations

import torch


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device multiplies it in hardware (AMX on CPUs, tensor cores on GPUs), else float32."""
    if device.type == "cpu":
        enabled = bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    else:
        enabled = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
