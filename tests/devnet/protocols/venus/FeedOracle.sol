// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IUnderlying {
    function underlying() external view returns (address);
}

interface IDecimals {
    function decimals() external view returns (uint8);
}

interface IFeed {
    function latestAnswer() external view returns (int256);
}

interface ISource {
    function getPrice(address asset) external view returns (uint256);
}

/// Imitates what Venus asks of its ResilientOracle and of its DeviationBoundedOracle, and what a reader can ask of the
/// first: prices scaled by 10^(36 - decimals) and the main oracle of an asset. The main oracle of an asset is this
/// contract itself, over Chainlink-like feeds of 8 decimals with the admin's own price before them (`prices`, as in
/// Venus' ChainlinkOracle), or another contract. It does not imitate pivot and fallback oracles, their validation, the
/// caches, protection states or any access rule; the bounded prices are the spot price.
contract FeedOracle {
    mapping(address => address) public feeds;
    mapping(address => address) public mains;
    mapping(address => uint256) public prices;

    function setFeed(address asset, address feed) external {
        feeds[asset] = feed;
    }

    function setMain(address asset, address source) external {
        mains[asset] = source;
    }

    function setDirectPrice(address asset, uint256 price) external {
        prices[asset] = price;
    }

    function getOracle(address asset, uint8 role) external view returns (address oracle, bool enabled) {
        if (role != 0) return (address(0), false);
        return (mains[asset] == address(0) ? address(this) : mains[asset], true);
    }

    function getPrice(address asset) public view returns (uint256) {
        if (mains[asset] != address(0)) return ISource(mains[asset]).getPrice(asset);
        if (prices[asset] != 0) return prices[asset];
        int256 answer = IFeed(feeds[asset]).latestAnswer();
        return uint256(answer) * 10 ** (28 - IDecimals(asset).decimals());
    }

    function getUnderlyingPrice(address vToken) public view returns (uint256) {
        return getPrice(IUnderlying(vToken).underlying());
    }

    function getBoundedPricesView(address vToken) external view returns (uint256, uint256) {
        uint256 price = getUnderlyingPrice(vToken);
        return (price, price);
    }

    function updateProtectionState(address vToken) external {}
}
