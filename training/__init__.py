"""The GPU infrastructure: devices, keyed draws, loop, checkpoints, averages, streams. Knows no slide and no model."""
