// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IRatio {
    function getRatio() external view returns (int256);
}

/// Imitates Morpho's WstEthStEthExchangeRateChainlinkAdapter: a Chainlink-like feed of an exchange rate with its
/// description. The rate is that of the devnet's ratio feed, where the original asks stETH.
contract ExchangeRateFeed {
    uint8 public constant decimals = 18;
    string public constant description = "wstETH/stETH exchange rate";
    IRatio private immutable source;

    constructor(IRatio source_) {
        source = source_;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (0, source.getRatio(), 0, 0, 0);
    }
}
