// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IERC20Decimals {
    function decimals() external view returns (uint8);
}

interface IUniswapV3Spot {
    function token0() external view returns (address);

    function token1() external view returns (address);

    function slot0() external view returns (uint160, int24, uint16, uint16, uint16, uint8, bool);
}

/// A USD price feed that answers the spot price of a Uniswap v3 pool in this very block, its quote token taken as one
/// USD. It imitates the oracles that cascades feed on: those that read one pool's spot price. It does not imitate what
/// guards real ones: no time-weighted average, no second source, no bound on the answer.
contract PoolFeed {
    uint8 public constant decimals = 8;

    IUniswapV3Spot public immutable pool;
    bool public immutable isBaseFirst;
    uint256 public immutable scale;
    string public description;

    constructor(string memory description_, IUniswapV3Spot pool_, address base) {
        description = description_;
        pool = pool_;
        isBaseFirst = pool_.token0() == base;
        address quote = isBaseFirst ? pool_.token1() : pool_.token0();
        scale = 10 ** (decimals + IERC20Decimals(base).decimals() - IERC20Decimals(quote).decimals());
    }

    /// (sqrtPriceX96 / 2^96)^2 is token1 per token0 in raw units, or its inverse; here in whole tokens, times 10^8.
    function latestAnswer() external view returns (int256) {
        (uint256 sqrtPrice, , , , , , ) = pool.slot0();
        if (isBaseFirst) {
            return int256((sqrtPrice * sqrtPrice * scale) >> 192);
        }
        return int256((((1 << 192) / sqrtPrice) * scale) / sqrtPrice);
    }
}
