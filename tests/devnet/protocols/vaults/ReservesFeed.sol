// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IPair {
    function token0() external view returns (address);

    function token1() external view returns (address);

    function getReserves() external view returns (uint112, uint112, uint32);

    function totalSupply() external view returns (uint256);
}

interface IDecimals {
    function decimals() external view returns (uint8);
}

interface IUsdFeed {
    function latestAnswer() external view returns (int256);
}

/// Prices a liquidity token of a Uniswap v2 pool: its reserves per share, each at a USD feed of 8 decimals. It imitates
/// the simple oracles that count reserves; it does not imitate those that guard against a pool pushed off its price
/// (the fair price, 2 sqrt(k p0 p1) / supply). As with Aave's adapters there is no latestRoundData.
contract ReservesFeed {
    uint8 public constant decimals = 8;

    IPair public immutable pair;
    IUsdFeed public immutable feed0;
    IUsdFeed public immutable feed1;
    uint256 private immutable unit0;
    uint256 private immutable unit1;
    string public description;

    constructor(string memory description_, IPair pair_, IUsdFeed feed0_, IUsdFeed feed1_) {
        description = description_;
        pair = pair_;
        feed0 = feed0_;
        feed1 = feed1_;
        unit0 = 10 ** IDecimals(pair_.token0()).decimals();
        unit1 = 10 ** IDecimals(pair_.token1()).decimals();
    }

    function latestAnswer() external view returns (int256) {
        (uint112 reserve0, uint112 reserve1, ) = pair.getReserves();
        uint256 worth0 = (uint256(reserve0) * uint256(feed0.latestAnswer()) * 1e18) / unit0;
        uint256 worth1 = (uint256(reserve1) * uint256(feed1.latestAnswer()) * 1e18) / unit1;
        return int256((worth0 + worth1) / pair.totalSupply());
    }
}
