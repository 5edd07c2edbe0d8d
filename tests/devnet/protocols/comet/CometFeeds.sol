// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IRatio {
    function getRatio() external view returns (int256);
}

interface IRounds {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);

    function decimals() external view returns (uint8);
}

/// Imitates a Chainlink feed of an exchange rate with its description. The rate is that of the devnet's ratio feed.
contract RateFeed {
    uint8 public constant decimals = 18;
    string public constant description = "wstETH-stETH Exchange Rate";
    IRatio private immutable source;

    constructor(IRatio source_) {
        source = source_;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (0, source.getRatio(), 0, 0, 0);
    }
}

/// Imitates Compound's ConstantPriceFeed.
contract ConstantPriceFeedStandIn {
    uint8 public constant decimals = 8;
    string public constant description = "Constant price feed";
    int256 public immutable constantPrice;

    constructor(int256 price) {
        constantPrice = price;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (1, constantPrice, block.timestamp, block.timestamp, 1);
    }
}

/// Imitates Compound's MultiplicativePriceFeed: A times B, in 8 decimals.
contract MultiplicativePriceFeedStandIn {
    uint8 public constant decimals = 8;
    string public description;
    address public immutable priceFeedA;
    address public immutable priceFeedB;

    constructor(string memory description_, address a, address b) {
        (description, priceFeedA, priceFeedB) = (description_, a, b);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (, int256 a, , , ) = IRounds(priceFeedA).latestRoundData();
        (, int256 b, , , ) = IRounds(priceFeedB).latestRoundData();
        int256 scale = int256(10 ** (IRounds(priceFeedA).decimals() + IRounds(priceFeedB).decimals()));
        return (0, (a * b * 1e8) / scale, 0, 0, 0);
    }
}

/// Imitates Compound's ScalingPriceFeed: another feed, rescaled to 8 decimals, with a description of its own.
contract ScalingPriceFeedStandIn {
    uint8 public constant decimals = 8;
    string public description;
    address public immutable underlyingPriceFeed;

    constructor(string memory description_, address underlying) {
        (description, underlyingPriceFeed) = (description_, underlying);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (, int256 answer, , , ) = IRounds(underlyingPriceFeed).latestRoundData();
        return (0, (answer * 1e8) / int256(10 ** IRounds(underlyingPriceFeed).decimals()), 0, 0, 0);
    }
}
