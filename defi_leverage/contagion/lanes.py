"""Sums of legs for many scenarios side by side, held in the processor's registers."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from defi_leverage.contagion.book import Floats
from defi_leverage.contagion.compiled import compiled

__all__ = [
    "LANES",
    "add_bits",
    "aligned_lanes",
    "below",
    "fetch",
    "lowest_bit",
    "lowest_ratio",
    "sums_below",
    "tile_prices",
    "weighted_sum",
]

core: Any = cgutils  # numba types some of its functions and not others

LANES = 64  # scenarios side by side: 8 AVX-512 or 16 AVX2 registers of sums; 64 feeds of them take 32 kB
_LINE = 64  # bytes of a cache line: a register that straddles two costs twice


def tile_prices(feed_price: Floats) -> Floats:
    """Feed prices (feeds x scenarios) as tiles x (feeds x LANES), in full cache lines, padded with 1."""
    feeds, scenarios = feed_price.shape
    tiles = -(-scenarios // LANES)
    spare = np.empty(tiles * feeds * LANES + _LINE // 8)
    offset = -spare.ctypes.data % _LINE // 8
    tiled = spare[offset : offset + tiles * feeds * LANES].reshape(tiles, feeds, LANES)
    tiled[:] = 1.0
    for tile in range(tiles):
        part = feed_price[:, tile * LANES : (tile + 1) * LANES]
        tiled[tile, :, : part.shape[1]] = part
    return tiled.reshape(tiles, feeds * LANES)


def _aligned_lanes(rows: int) -> Any:
    """Zeros, rows x LANES, in full cache lines."""
    spare = np.zeros(rows * LANES + 8)
    offset = (64 - spare.ctypes.data % 64) % 64 // 8
    return spare[offset : offset + rows * LANES].reshape(rows, LANES)


aligned_lanes = compiled(_aligned_lanes)


# What follows is written in LLVM's vector types, because the compiler does not find by itself that the sums fit the
# registers, and takes twice the time. Multiplication and addition may be fused.
_INDEX, _BIT = ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)


def _data(context: Any, builder: Any, signature: Any, arguments: Any, position: int) -> Any:
    return context.make_array(signature.args[position])(context, builder, arguments[position]).data


def _load(builder: Any, pointer: Any, of: Any = _VECTOR) -> Any:
    values = builder.load(builder.bitcast(pointer, of.as_pointer()))
    values.align = 8
    return values


def _store(builder: Any, values: Any, pointer: Any) -> None:
    builder.store(values, builder.bitcast(pointer, values.type.as_pointer())).align = 8


def _spread(builder: Any, scalar: Any, of: Any = _VECTOR) -> Any:
    """A scalar in all lanes."""
    undefined = ir.Constant(of, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_BIT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_BIT, LANES), None))


def _sum_legs(builder: Any, low: Any, high: Any, weight: Any, feed: Any, price: Any) -> Any:
    total = core.alloca_once(builder, _VECTOR)
    builder.store(ir.Constant(_VECTOR, None), total)
    with core.for_range_slice(builder, low, high, ir.Constant(_INDEX, 1), intp=_INDEX) as (leg, _):
        row = builder.sext(builder.load(builder.gep(feed, [leg])), _INDEX)
        values = _load(builder, builder.gep(price, [builder.mul(row, ir.Constant(_INDEX, LANES))]))
        factor = _spread(builder, builder.load(builder.gep(weight, [leg])))
        product = builder.fmul(factor, values, flags=("contract",))
        builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
    return builder.load(total)


def _weighted_sum(_context: Any, out: Any, low: Any, high: Any, weight: Any, feed: Any, price: Any) -> Any:  # noqa: ARG001
    """out[s] = sum over legs low to high of weight[leg] * price[feed[leg] * LANES + s]; 0 without legs."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, *arrays = (_data(context, builder, signature, arguments, place) for place in (0, 3, 4, 5))
        _store(builder, _sum_legs(builder, arguments[1], arguments[2], *arrays), target)
        return context.get_dummy_value()

    return types.void(out, types.int64, types.int64, weight, feed, price), generate


def _sums_below(_context: Any, low: Any, middle: Any, high: Any, weight: Any, feed: Any, price: Any) -> Any:  # noqa: ARG001
    """Bit s of the answer: whether `weighted_sum` of legs low to middle is less than that of middle to high."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [_data(context, builder, signature, arguments, place) for place in (3, 4, 5)]
        left, right = (_sum_legs(builder, arguments[at], arguments[at + 1], *arrays) for at in (0, 1))
        return builder.bitcast(builder.fcmp_ordered("<", left, right), _INDEX)

    return types.uint64(types.int64, types.int64, types.int64, weight, feed, price), generate


def _below(_context: Any, left: Any, right: Any, factor: Any) -> Any:  # noqa: ARG001
    """Bit s of the answer: whether left[s] < right[s] * factor, for s below LANES."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        least, most = (_load(builder, _data(context, builder, signature, arguments, place)) for place in (0, 1))
        scaled = builder.fmul(most, _spread(builder, arguments[2]))
        return builder.bitcast(builder.fcmp_ordered("<", least, scaled), _INDEX)

    return types.uint64(left, right, types.float64), generate


def _lowest_ratio(_context: Any, over: Any, under: Any, mask: Any) -> Any:  # noqa: ARG001
    """The least over[s] / under[s] of the scenarios in `mask`, to seven digits; inf where there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        high, low = (
            builder.fptrunc(_load(builder, _data(context, builder, signature, arguments, place)), _FLOATS)
            for place in (0, 1)
        )
        chosen = builder.bitcast(arguments[2], ir.VectorType(ir.IntType(1), LANES))
        none = _spread(builder, ir.Constant(ir.FloatType(), float("inf")), _FLOATS)
        ratio = builder.select(chosen, builder.fdiv(high, low), none)
        reduce = core.get_or_insert_function(
            builder.module, ir.FunctionType(ir.FloatType(), (_FLOATS,)), f"llvm.vector.reduce.fmin.v{LANES}f32"
        )
        return builder.fpext(builder.call(reduce, [ratio]), ir.DoubleType())

    return types.float64(over, under, types.uint64), generate


def _add_bits(_context: Any, counts: Any, mask: Any) -> Any:  # noqa: ARG001
    """counts[s] += 1 (int64) where bit s is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of = ir.VectorType(_INDEX, LANES)
        pointer = _data(context, builder, signature, arguments, 0)
        bits = builder.zext(builder.bitcast(arguments[1], ir.VectorType(ir.IntType(1), LANES)), of)
        _store(builder, builder.add(_load(builder, pointer, of), bits), pointer)
        return context.get_dummy_value()

    return types.void(counts, types.uint64), generate


def _fetch(_context: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """Have the cache line of array[place] brought near, for it is needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.gep(_data(context, builder, signature, arguments, 0), [arguments[1]])
        byte = ir.IntType(8).as_pointer()
        prefetch = core.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), (byte, _BIT, _BIT, _BIT)), "llvm.prefetch.p0i8"
        )
        builder.call(prefetch, [builder.bitcast(pointer, byte), *(ir.Constant(_BIT, hint) for hint in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


def _lowest_bit(_context: Any, mask: Any) -> Any:  # noqa: ARG001
    """The position of the lowest bit that is set; 64 where none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


add_bits: Any = intrinsic(_add_bits)
below: Any = intrinsic(_below)
fetch: Any = intrinsic(_fetch)
lowest_bit: Any = intrinsic(_lowest_bit)
lowest_ratio: Any = intrinsic(_lowest_ratio)
sums_below: Any = intrinsic(_sums_below)
weighted_sum: Any = intrinsic(_weighted_sum)
