// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

/// Imitates Pendle's PendleSparkLinearDiscountOracle: 1 less a discount that melts away until maturity. The maturity is
/// given, where the original asks the principal token.
contract LinearDiscountFeed {
    uint8 public constant decimals = 18;
    address public immutable PT;
    uint256 public immutable maturity;
    uint256 public immutable baseDiscountPerYear;

    constructor(address token, uint256 maturity_, uint256 perYear) {
        PT = token;
        maturity = maturity_;
        baseDiscountPerYear = perYear;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        uint256 left = maturity > block.timestamp ? maturity - block.timestamp : 0;
        return (0, int256(1e18 - getDiscount(left)), 0, 0, 0);
    }

    function getDiscount(uint256 left) public view returns (uint256) {
        return (left * baseDiscountPerYear) / 365 days;
    }
}
