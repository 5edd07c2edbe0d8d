// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IDollarFeed {
    function latestAnswer() external view returns (int256);
}

/// Imitates the later AaveOracle of Aave v2 where its base currency is USD with 8 decimals, as on Avalanche:
/// BASE_CURRENCY, BASE_CURRENCY_UNIT, getAssetPrice and getSourceOfAsset. It does not imitate the owner, the fallback
/// oracle or sources that are set later.
contract DollarOracle {
    address public constant BASE_CURRENCY = address(0);
    uint256 public constant BASE_CURRENCY_UNIT = 1e8;
    mapping(address => IDollarFeed) private sources;

    constructor(address[] memory assets, IDollarFeed[] memory feeds) {
        for (uint256 i = 0; i < assets.length; i++) {
            sources[assets[i]] = feeds[i];
        }
    }

    function getAssetPrice(address asset) external view returns (uint256) {
        int256 price = sources[asset].latestAnswer();
        require(price > 0, "no price");
        return uint256(price);
    }

    function getSourceOfAsset(address asset) external view returns (address) {
        return address(sources[asset]);
    }
}
