"""Sums of legs for many scenarios side by side, held in the processor's registers."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from defi_leverage.contagion.book import Floats
from defi_leverage.contagion.compiled import compiled

__all__ = ["LANES", "aligned_lanes", "below", "lowest_bit", "tile_prices", "weighted_sum"]

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


def _weighted_sum(_context: Any, out: Any, low: Any, high: Any, weight: Any, row: Any, price: Any) -> Any:  # noqa: ARG001
    """out[0:LANES] = sum over legs low to high of weight[leg] * price[row[leg] : row[leg] + LANES]; 0 without legs.

    Written in LLVM's vector types, because the compiler does not find by itself that the sums fit the registers, and
    takes twice the time. Multiplication and addition may be fused.
    """
    signature = types.void(out, types.int64, types.int64, weight, row, price)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, index = ir.VectorType(ir.DoubleType(), LANES), ir.IntType(64)
        undefined = ir.Constant(lanes, ir.Undefined)
        broadcast = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)

        def data(position: int) -> Any:
            array = context.make_array(signature.args[position])
            return array(context, builder, arguments[position]).data

        target, weights, rows, prices = data(0), data(3), data(4), data(5)
        total = core.alloca_once(builder, lanes)
        builder.store(ir.Constant(lanes, None), total)
        with core.for_range_slice(builder, arguments[1], arguments[2], ir.Constant(index, 1), intp=index) as (
            leg,
            _,
        ):
            scalar = builder.load(builder.gep(weights, [leg]))
            first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
            factor = builder.shuffle_vector(first, undefined, broadcast)
            start = builder.gep(prices, [builder.load(builder.gep(rows, [leg]))])
            values = builder.load(builder.bitcast(start, lanes.as_pointer()))
            values.align = 8
            product = builder.fmul(factor, values, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        store = builder.store(builder.load(total), builder.bitcast(target, lanes.as_pointer()))
        store.align = 8
        return context.get_dummy_value()

    return signature, generate


weighted_sum: Any = intrinsic(_weighted_sum)


def _below(_context: Any, left: Any, right: Any, factor: Any) -> Any:  # noqa: ARG001
    """Bit s of the answer: whether left[s] < right[s] * factor, for s below LANES."""
    signature = types.uint64(left, right, types.float64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(ir.DoubleType(), LANES)
        undefined = ir.Constant(lanes, ir.Undefined)
        broadcast = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)

        def load(position: int) -> Any:
            array = context.make_array(signature.args[position])(context, builder, arguments[position])
            values = builder.load(builder.bitcast(array.data, lanes.as_pointer()))
            values.align = 8
            return values

        first = builder.insert_element(undefined, arguments[2], ir.Constant(ir.IntType(32), 0))
        scaled = builder.fmul(load(1), builder.shuffle_vector(first, undefined, broadcast))
        return builder.bitcast(builder.fcmp_ordered("<", load(0), scaled), ir.IntType(64))

    return signature, generate


def _lowest_bit(_context: Any, mask: Any) -> Any:  # noqa: ARG001
    """The position of the lowest bit that is set; 64 where none is."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


below: Any = intrinsic(_below)
lowest_bit: Any = intrinsic(_lowest_bit)
