// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates IRMLinearKink of the Euler Vault Kit: rates in ray a second, utilisation in units of 2^-32 (of 2^32 - 1) and
/// cut off to them, slopes for such a unit. It lets anyone ask in the vault's name.
contract KinkModel {
    uint256 internal constant ALL = type(uint32).max;
    uint256 public immutable baseRate;
    uint256 public immutable slope1;
    uint256 public immutable slope2;
    uint256 public immutable kink;

    constructor(uint256 base, uint256 below, uint256 above, uint256 at) {
        (baseRate, slope1, slope2, kink) = (base, below, above, at);
    }

    function computeInterestRate(address vault, uint256 cash, uint256 borrows) external view returns (uint256) {
        return computeInterestRateView(vault, cash, borrows);
    }

    function computeInterestRateView(address, uint256 cash, uint256 borrows) public view virtual returns (uint256) {
        uint256 used = borrows == 0 ? 0 : borrows * ALL / (cash + borrows);
        uint256 below = used < kink ? used : kink;
        return baseRate + slope1 * below + slope2 * (used - below);
    }
}

/// A model that nobody knows, with the constants of the other one, and its rates up to a utilisation of 99 %.
contract BentModel is KinkModel {
    constructor(uint256 base, uint256 below, uint256 above, uint256 at) KinkModel(base, below, above, at) {}

    function computeInterestRateView(address vault, uint256 cash, uint256 borrows)
        public
        view
        override
        returns (uint256 rate)
    {
        rate = KinkModel.computeInterestRateView(vault, cash, borrows);
        if (borrows * 100 > (cash + borrows) * 99) rate *= 2;
    }
}

/// Imitates IRMAdaptiveCurve of Euler's periphery: a rate at a target utilisation, kept for each vault, that grows or
/// shrinks at a speed set by the utilisation of before, within bounds; and a line through it on either side. Constants
/// in wad, rates in wad a second, answers in ray. It does not imitate its exponential's precision, nor that it waits for
/// the first loan.
contract AdaptiveModel {
    int256 private constant WAD = 1e18;
    int256 public immutable TARGET_UTILIZATION;
    int256 public immutable INITIAL_RATE_AT_TARGET;
    int256 public immutable MIN_RATE_AT_TARGET;
    int256 public immutable MAX_RATE_AT_TARGET;
    int256 public immutable CURVE_STEEPNESS;
    int256 public immutable ADJUSTMENT_SPEED;

    struct Memory {
        int256 rate;
        int256 used;
        uint256 since;
    }

    mapping(address => Memory) private known;

    constructor(int256 target, int256 initial, int256 least, int256 most, int256 steepness, int256 speed) {
        (TARGET_UTILIZATION, INITIAL_RATE_AT_TARGET) = (target, initial);
        (MIN_RATE_AT_TARGET, MAX_RATE_AT_TARGET) = (least, most);
        (CURVE_STEEPNESS, ADJUSTMENT_SPEED) = (steepness, speed);
    }

    function computeInterestRate(address vault, uint256 cash, uint256 borrows) external returns (uint256 rate) {
        rate = computeInterestRateView(vault, cash, borrows);
        known[vault] = Memory(atTarget(vault), utilization(cash, borrows), block.timestamp);
    }

    function computeInterestRateView(address vault, uint256 cash, uint256 borrows) public view returns (uint256) {
        int256 gap = distance(utilization(cash, borrows));
        int256 slope = gap < 0 ? WAD - WAD * WAD / CURVE_STEEPNESS : CURVE_STEEPNESS - WAD;
        return uint256((slope * gap / WAD + WAD) * atTarget(vault) / WAD) * 1e9;
    }

    function computeRateAtTargetView(address vault, uint256, uint256) external view returns (uint256) {
        return uint256(atTarget(vault)) * 1e9;
    }

    function atTarget(address vault) private view returns (int256 rate) {
        Memory memory last = known[vault];
        if (last.since == 0) return INITIAL_RATE_AT_TARGET;
        int256 power = ADJUSTMENT_SPEED * distance(last.used) / WAD * int256(block.timestamp - last.since);
        rate = last.rate * exp(power) / WAD;
        if (rate < MIN_RATE_AT_TARGET) return MIN_RATE_AT_TARGET;
        if (rate > MAX_RATE_AT_TARGET) return MAX_RATE_AT_TARGET;
    }

    function distance(int256 used) private view returns (int256) {
        int256 room = used > TARGET_UTILIZATION ? WAD - TARGET_UTILIZATION : TARGET_UTILIZATION;
        return (used - TARGET_UTILIZATION) * WAD / room;
    }

    function utilization(uint256 cash, uint256 borrows) private pure returns (int256) {
        return borrows == 0 ? int256(0) : int256(borrows * 1e18 / (cash + borrows));
    }

    /// (1 + x / 2^16)^(2^16)
    function exp(int256 x) private pure returns (int256 result) {
        result = WAD + x / 65536;
        for (uint256 i; i < 16; ++i) result = result * result / WAD;
    }
}
