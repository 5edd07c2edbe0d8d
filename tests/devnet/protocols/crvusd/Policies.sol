// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

import "Llamma.sol";

interface IHolder {
    function balanceOf(address holder) external view returns (uint256);
}

interface IOwing {
    function total_debt() external view returns (uint256);
}

/// What the monetary policies of LlamaLend share: utilisation as the controller's debt over that and its balance.
abstract contract Policy {
    address public immutable BORROWED_TOKEN;

    constructor(address borrowed) {
        BORROWED_TOKEN = borrowed;
    }

    function rate(address controller) external view returns (uint256) {
        (uint256 owed, uint256 held) = (IOwing(controller).total_debt(), IHolder(BORROWED_TOKEN).balanceOf(controller));
        return rateAt(owed, owed + held);
    }

    function rateAt(uint256 owed, uint256 all) internal view virtual returns (uint256);
}

/// Imitates SemilogMonetaryPolicy: min_rate * (max_rate / min_rate) ** utilisation, in whole units of 1e-18 a second. The
/// logarithm of the ratio is given, where the original takes it; the exponential is a series of its own. `surcharge` is
/// none of the original's: with one it is a policy that only looks like it.
contract SemilogPolicy is Policy {
    uint256 public min_rate;
    uint256 public max_rate;
    uint256 private immutable logRatio;
    uint256 private immutable surcharge;

    constructor(address borrowed, uint256 low, uint256 high, uint256 logRatio_, uint256 surcharge_) Policy(borrowed) {
        (min_rate, max_rate, logRatio, surcharge) = (low, high, logRatio_, surcharge_);
    }

    function rateAt(uint256 owed, uint256 all) internal view override returns (uint256) {
        return min_rate * (owed == 0 ? 1e27 : exponential(logRatio * owed / all)) / 1e27 + surcharge;
    }

    /// e ** (x / 1e27), times 1e27: of a 256th of x by its first twelve terms, squared eight times.
    function exponential(uint256 x) private pure returns (uint256 result) {
        uint256 part = x / 256;
        result = 1e27;
        uint256 term = 1e27;
        for (uint256 i = 1; i < 12; ++i) {
            term = term * part / (i * 1e27);
            result += term;
        }
        for (uint256 i; i < 8; ++i) result = result * result / 1e27;
    }
}

/// What policies of another rate share: that * (r_minf + A / (u_inf - utilisation)) + shift.
abstract contract HyperbolicPolicy is Policy {
    struct Parameters {
        uint256 u_inf;
        uint256 A;
        uint256 r_minf;
        uint256 shift;
    }

    Parameters public parameters;

    constructor(address borrowed, Parameters memory p) Policy(borrowed) {
        parameters = p;
    }

    function rateAt(uint256 owed, uint256 all) internal view override returns (uint256) {
        uint256 used = all == 0 ? 0 : owed * 1e18 / all;
        uint256 r0 = referred();
        return r0 * parameters.r_minf / 1e18 + parameters.A * r0 / (parameters.u_inf - used) + parameters.shift;
    }

    function referred() internal view virtual returns (uint256);
}

/// Imitates SecondaryMonetaryPolicy, which refers to the rate of an AMM.
contract SecondaryPolicy is HyperbolicPolicy {
    Llamma public immutable AMM;

    constructor(address borrowed, Llamma amm, Parameters memory p) HyperbolicPolicy(borrowed, p) {
        AMM = amm;
    }

    function referred() internal view override returns (uint256) {
        return AMM.rate();
    }
}

/// Imitates SusdeMonetaryPolicy, which refers to the average yield of sUSDe; here it stands still.
contract SusdePolicy is HyperbolicPolicy {
    uint256 public immutable ma_susde_rate;

    constructor(address borrowed, uint256 average, Parameters memory p) HyperbolicPolicy(borrowed, p) {
        ma_susde_rate = average;
    }

    function referred() internal view override returns (uint256) {
        return ma_susde_rate;
    }
}

/// Imitates EMAMonetaryPolicy, whose average changes when it is written, so that its view is not what it will charge.
contract EmaPolicy is HyperbolicPolicy {
    uint256 public immutable ma_rate;

    constructor(address borrowed, uint256 average, Parameters memory p) HyperbolicPolicy(borrowed, p) {
        ma_rate = average;
    }

    function referred() internal view override returns (uint256) {
        return ma_rate;
    }
}
