"""Passes over pixels, compiled by numba for the processor that they run on: labels of a block, features of single ones.

Arithmetic is written out in `Lanes`, several float32 that stay in vector registers, since LLVM does not find them by
itself here. All is in one file: numba compiles again what it keeps on disk when the kernel's file changes, and looks at
no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.extending import intrinsic, models, register_model

_FEATURES = get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8  # float32 that are computed with at once
HALVES = _FEATURES.get("f16c", True)
"""Whether the processor reads half precision: all do but x86 before 2012."""
PIXELS = 8  # that go through a dense layer together: their sums fill the registers
STRIP = 4 * LANES  # units whose sums over the taps of a pixel are in registers together
_TILE = 32  # px whose activations stay in the first-level cache from layer to layer
_VECTOR = ir.VectorType(ir.FloatType(), LANES)

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_intrinsic: _Decorator = intrinsic
_helper: _Decorator = njit(nogil=True, error_model="numpy")


class Lanes(types.Type):
    """Numba's type of `LANES` float32."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


_lanes = Lanes()


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """The address of an array's element; no bounds are checked, and no index counts from the end."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _everywhere(builder: Any, value: Any) -> Any:
    """A float in all lanes."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _read(builder: Any, kind: Any, pointer: Any, count: int) -> Any:
    """Floats in `count` lanes, or one, from an array of float32, or of uint16 that are the bits of halves."""
    single = _VECTOR if count > 1 else ir.FloatType()
    if kind.dtype != types.uint16:
        return builder.load(builder.bitcast(pointer, single.as_pointer()), align=4)
    half = ir.VectorType(ir.HalfType(), count) if count > 1 else ir.HalfType()
    return builder.fpext(builder.load(builder.bitcast(pointer, half.as_pointer()), align=2), single)


@_intrinsic
def load(_: Any, array: Any, index: Any) -> Any:
    """Lanes of array[index : index + LANES]; uint16 are the bits of halves."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        return _read(builder, signature.args[0], pointer, LANES)

    return _lanes(array, types.intp), generate


@_intrinsic
def load_one(_: Any, array: Any, index: Any) -> Any:
    """The float32 that array[index] is; uint16 are the bits of halves."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        return _read(builder, signature.args[0], pointer, 1)

    return types.float32(array, types.intp), generate


@_intrinsic
def store(_: Any, array: Any, index: Any, lanes: Any) -> Any:
    """array[index : index + LANES] = lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(arguments[2], builder.bitcast(pointer, _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_intrinsic
def add_scaled(_: Any, total: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Total + array[index] * lanes, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total, array, index, lanes = arguments
        factor = _everywhere(builder, builder.load(_pointer(context, builder, signature.args[1], array, index)))
        return builder.fadd(total, builder.fmul(factor, lanes, flags=("contract",)), flags=("contract",))

    return _lanes(total, array, types.intp, lanes), generate


@_intrinsic
def times(_: Any, lanes: Any, array: Any, index: Any) -> Any:
    """Lanes * array[index : index + LANES]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[1], arguments[1], arguments[2])
        return builder.fmul(arguments[0], _read(builder, signature.args[1], pointer, LANES))

    return _lanes(lanes, array, types.intp), generate


@_intrinsic
def at_least(_: Any, lanes: Any, bound: Any) -> Any:
    """The larger of each lane and a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bound = _everywhere(builder, arguments[1])
        return builder.select(builder.fcmp_ordered("<", arguments[0], bound), bound, arguments[0])

    return _lanes(lanes, types.float32), generate


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled code, kept on disk where there is a place for it."""
    keeping: _Decorator = njit(nogil=True, error_model="numpy", cache=True)
    try:
        return keeping(function)
    except RuntimeError:  # neither the package's folder nor the user's own can be written to
        return _helper(function)


@_helper
def _dense(x, start, inputs, count, weights, at, outputs, out, out_start, bound):  # type: ignore[no-untyped-def]
    """out (count, outputs) = max(x (count, inputs) @ W + b, bound), eight pixels at a time.

    A layer lies in `weights` from `at` on: b (outputs), then W as (outputs / LANES, inputs, LANES). The last pixels are
    eight, too, whatever is there.
    """
    for p in range(0, count, PIXELS):
        x0 = start + p * inputs
        x1, x2, x3 = x0 + inputs, x0 + 2 * inputs, x0 + 3 * inputs
        x4, x5, x6, x7 = x0 + 4 * inputs, x0 + 5 * inputs, x0 + 6 * inputs, x0 + 7 * inputs
        for q in range(0, outputs, LANES):
            s0 = load(weights, at + q)
            s1 = s2 = s3 = s4 = s5 = s6 = s7 = s0
            panel = at + outputs + q * inputs
            for i in range(inputs):
                w = load(weights, panel + i * LANES)
                s0 = add_scaled(s0, x, x0 + i, w)
                s1 = add_scaled(s1, x, x1 + i, w)
                s2 = add_scaled(s2, x, x2 + i, w)
                s3 = add_scaled(s3, x, x3 + i, w)
                s4 = add_scaled(s4, x, x4 + i, w)
                s5 = add_scaled(s5, x, x5 + i, w)
                s6 = add_scaled(s6, x, x6 + i, w)
                s7 = add_scaled(s7, x, x7 + i, w)
            o = out_start + p * outputs + q
            store(out, o, at_least(s0, bound))
            store(out, o + outputs, at_least(s1, bound))
            store(out, o + 2 * outputs, at_least(s2, bound))
            store(out, o + 3 * outputs, at_least(s3, bound))
            store(out, o + 4 * outputs, at_least(s4, bound))
            store(out, o + 5 * outputs, at_least(s5, bound))
            store(out, o + 6 * outputs, at_least(s6, bound))
            store(out, o + 7 * outputs, at_least(s7, bound))


@_helper
def _blend(source, taps, shares, first, count, units, target, at, bound):  # type: ignore[no-untyped-def]
    """target[at : at + units] = max(itself + the sum of `count` rows of `source` by their shares, bound)."""
    for q in range(0, units, STRIP):
        s0 = load(target, at + q)
        s1 = load(target, at + q + LANES)
        s2 = load(target, at + q + 2 * LANES)
        s3 = load(target, at + q + 3 * LANES)
        for t in range(first, first + count):
            row = taps[t] * units + q
            s0 = add_scaled(s0, shares, t, load(source, row))
            s1 = add_scaled(s1, shares, t, load(source, row + LANES))
            s2 = add_scaled(s2, shares, t, load(source, row + 2 * LANES))
            s3 = add_scaled(s3, shares, t, load(source, row + 3 * LANES))
        store(target, at + q, at_least(s0, bound))
        store(target, at + q + LANES, at_least(s1, bound))
        store(target, at + q + 2 * LANES, at_least(s2, bound))
        store(target, at + q + 3 * LANES, at_least(s3, bound))


@_helper
def _tally(logits, width, count, first, classes, mean, votes, entropy):  # type: ignore[no-untyped-def]
    """Add one member's verdict on `count` pixels from `first` on: logits (count, width), of which `classes` count."""
    chances = np.empty(classes, np.float32)
    for p in range(count):
        best = 0
        for k in range(1, classes):
            if logits[p * width + k] > logits[p * width + best]:
                best = k
        total = spread = np.float32(0)
        for k in range(classes):
            below = logits[p * width + k] - logits[p * width + best]
            chances[k] = math.exp(below)
            total += chances[k]
            spread += chances[k] * below
        for k in range(classes):
            mean[first + p, k] += chances[k] / total
        votes[first + p, best] += 1
        entropy[first + p] += math.log(total) - spread / total


@_helper
def _verdict(members, by_vote, mean, votes, entropy, labels, uncertainty):  # type: ignore[no-untyped-def]
    """The label of each pixel, and the entropy of the mean prediction less the members' mean entropy."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            p = y * width + x
            best, joint = 0, np.float32(0)
            for k in range(mean.shape[1]):
                more = by_vote and votes[p, k] > votes[p, best]
                equal = not by_vote or votes[p, k] == votes[p, best]
                if more or (equal and mean[p, k] > mean[p, best]):
                    best = k
                chance = mean[p, k] / members
                if chance > 0:
                    joint -= chance * math.log(chance)
            labels[y, x] = best
            uncertainty[y, x] = max(joint - entropy[p] / members, np.float32(0))


@_compiled
def label_block(  # type: ignore[no-untyped-def]
    values, levels, down, down_shares, across, across_shares, weights, widths, classes, by_vote, labels, uncertainty
):
    """Write labels (h, w) uint8 and uncertainty (h, w) float32 of a block.

    Members come one after another, so that the first layer's outputs at native resolution stay in the cache; of their
    upsampling and of the layers that follow nothing is larger than a row of the block.

    Parameters
    ----------
    values
        Native values float32, level after level, channels last, from (rows, columns, channels) of whole groups of
        `PIXELS`. The last level is the image's own resolution, be it of no channels.
    levels
        (L, 4) int64: where a level's values begin, its rows, columns and channels.
    down, down_shares
        (h, L, 2) int64 and float32: the native rows that a row of the block is interpolated from.
    across, across_shares
        (w * L * 2,): the native columns of each pixel, counted from the first level's first one on.
    weights
        (M, n) float32: each member's layers as :func:`_dense` reads them, the shares of the first layer level by level.
    widths
        (D,) int64: outputs of each layer, with what they are filled up with.
    classes, by_vote
        How many of the last layer's outputs are logits; whether votes come before mean probability.
    """
    (height, width), units, coarse = labels.shape, widths[0], len(levels) - 1
    starts = np.zeros(coarse + 1, np.int64)  # of each level's rows in `native`
    columns = 0
    for i in range(coarse):
        starts[i + 1] = starts[i] + (levels[i, 1] * levels[i, 2] + PIXELS - 1) // PIXELS * PIXELS
        columns += levels[i, 2]
    native = np.empty(starts[coarse] * units, np.float32)
    row = np.empty(columns * units, np.float32)
    here, after = np.empty(_TILE * widths.max(), np.float32), np.empty(_TILE * widths.max(), np.float32)
    mean, votes = np.zeros((height * width, classes), np.float32), np.zeros((height * width, classes), np.uint16)
    entropy = np.zeros(height * width, np.float32)
    pair = np.empty(2, np.int64)
    nothing, zero = np.float32(-np.inf), np.float32(0)
    for member in range(len(weights)):
        own, at = weights[member], 0
        for i in range(coarse):
            start, rows, breadth, channels = levels[i]
            _dense(values, start, channels, rows * breadth, own, at, units, native, starts[i] * units, nothing)
            at += units * (channels + 1)
        start, _, _, channels = levels[coarse]
        for y in range(height):
            row[:] = 0
            column = 0
            for i in range(coarse):
                for x in range(levels[i, 2]):
                    pair[0] = starts[i] + down[y, i, 0] * levels[i, 2] + x
                    pair[1] = starts[i] + down[y, i, 1] * levels[i, 2] + x
                    _blend(native, pair, down_shares[y, i], 0, 2, units, row, column * units, nothing)
                    column += 1
            for x in range(0, width, _TILE):
                count = min(_TILE, width - x)
                _dense(values, start + (y * width + x) * channels, channels, count, own, at, units, here, 0, nothing)
                for p in range(count):
                    first = (x + p) * 2 * len(levels)
                    _blend(row, across, across_shares, first, 2 * coarse, units, here, p * units, zero)
                inputs, layer = units, at + units * (channels + 1)
                for depth in range(1, len(widths)):
                    outputs = widths[depth]
                    bound = nothing if depth == len(widths) - 1 else zero
                    _dense(here, 0, inputs, count, own, layer, outputs, after, 0, bound)
                    here, after = after, here
                    inputs, layer = outputs, layer + outputs * (inputs + 1)
                _tally(here, inputs, count, y * width + x, classes, mean, votes, entropy)
    _verdict(len(weights), by_vote, mean, votes, entropy, labels, uncertainty)


@_compiled
def gather_pixels(  # type: ignore[no-untyped-def]
    values, slots, positions, order, levels, taps, shares, shift, factor, features
):
    """Write features (n, C) float32 of single pixels of some blocks: interpolated, then shifted, then scaled.

    Parameters
    ----------
    values
        (S, size) float32, or uint16 that are the bits of halves: the native values of a block in each slot, level after
        level, from (rows, columns, channels).
    slots, positions
        (n,) int64: the slot of each pixel, and its place in the flattened block.
    order
        (n,) int64: in which order they are gathered; it does not show in the results.
    levels
        (L, 3) int64: where a level's values begin in a slot, its columns and channels.
    taps, shares
        (L, edge, 2) int64 and float32: the native rows that a row of the block is interpolated from; the same for
        columns.
    shift, factor
        (C,) float32.
    """
    edge, channels = taps.shape[1], features.shape[1]
    flat, out, share = values.reshape(-1), features.reshape(-1), np.empty(4, np.float32)
    for n in order:
        y = positions[n] // edge
        x, first = positions[n] - y * edge, 0
        for i in range(len(levels)):
            start, columns, count = slots[n] * values.shape[1] + levels[i, 0], levels[i, 1], levels[i, 2]
            upper, lower = start + taps[i, y, 0] * columns * count, start + taps[i, y, 1] * columns * count
            left, right = taps[i, x, 0] * count, taps[i, x, 1] * count
            t0, t1, t2, t3 = upper + left, upper + right, lower + left, lower + right
            share[0], share[1] = shares[i, y, 0] * shares[i, x, 0], shares[i, y, 0] * shares[i, x, 1]
            share[2], share[3] = shares[i, y, 1] * shares[i, x, 0], shares[i, y, 1] * shares[i, x, 1]
            row, whole = n * channels + first, count // LANES * LANES
            for k in range(0, whole, LANES):
                s = add_scaled(load(shift, first + k), share, 0, load(flat, t0 + k))
                s = add_scaled(s, share, 1, load(flat, t1 + k))
                s = add_scaled(s, share, 2, load(flat, t2 + k))
                s = add_scaled(s, share, 3, load(flat, t3 + k))
                store(out, row + k, times(s, factor, first + k))
            for k in range(whole, count):
                s = shift[first + k] + share[0] * load_one(flat, t0 + k) + share[1] * load_one(flat, t1 + k)
                s += share[2] * load_one(flat, t2 + k) + share[3] * load_one(flat, t3 + k)
                out[row + k] = s * factor[first + k]
            first += count
