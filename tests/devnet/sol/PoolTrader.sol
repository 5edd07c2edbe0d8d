// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IERC20Payments {
    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

interface IUniswapV3Actions {
    function token0() external view returns (address);

    function token1() external view returns (address);

    function mint(address recipient, int24 lower, int24 upper, uint128 liquidity, bytes calldata data)
        external
        returns (uint256, uint256);

    function swap(address recipient, bool zeroForOne, int256 amount, uint160 sqrtPriceLimitX96, bytes calldata data)
        external
        returns (int256, int256);
}

/// Imitates what Uniswap's position manager and swap router do for a caller of one v3 pool: provide liquidity, and sell
/// an exact amount, paid from the caller's approved tokens. It does not imitate deadlines, slippage limits, routes over
/// several pools or the wrapping of ether.
contract PoolTrader {
    IUniswapV3Actions public immutable pool;
    address public immutable token0;
    address public immutable token1;

    constructor(IUniswapV3Actions pool_) {
        pool = pool_;
        token0 = pool_.token0();
        token1 = pool_.token1();
    }

    function provide(int24 lower, int24 upper, uint128 liquidity) external {
        pool.mint(msg.sender, lower, upper, liquidity, abi.encode(msg.sender));
    }

    /// Sells `amount` of `token`, or less where the price reaches the limit first.
    function sell(address token, uint256 amount, uint160 sqrtPriceLimitX96) external {
        pool.swap(msg.sender, token == token0, int256(amount), sqrtPriceLimitX96, abi.encode(msg.sender));
    }

    function uniswapV3MintCallback(uint256 amount0, uint256 amount1, bytes calldata data) external {
        pay(int256(amount0), int256(amount1), data);
    }

    function uniswapV3SwapCallback(int256 amount0, int256 amount1, bytes calldata data) external {
        pay(amount0, amount1, data);
    }

    function pay(int256 amount0, int256 amount1, bytes calldata data) private {
        require(msg.sender == address(pool), "only the pool");
        address payer = abi.decode(data, (address));
        if (amount0 > 0) IERC20Payments(token0).transferFrom(payer, msg.sender, uint256(amount0));
        if (amount1 > 0) IERC20Payments(token1).transferFrom(payer, msg.sender, uint256(amount1));
    }
}
