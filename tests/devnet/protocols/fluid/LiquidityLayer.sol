// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IMoney {
    function balanceOf(address holder) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
}

/// Imitates Fluid's liquidity layer and its LiquidityResolver in one: totals of a token with and without interest against
/// exchange prices of 12 decimals, the borrow rate of one or two kinks that is stored, in basis points cut off, at the
/// utilisation of the last touch. It does not imitate users, their limits, packed numbers, update thresholds (every touch
/// is stored) or the ratios by which the original rounds what suppliers get.
contract LiquidityLayer {
    address private constant NATIVE = 0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE;

    struct RateDataV1 {
        address token;
        uint256 kink;
        uint256 rateAtUtilizationZero;
        uint256 rateAtUtilizationKink;
        uint256 rateAtUtilizationMax;
    }

    struct RateDataV2 {
        address token;
        uint256 kink1;
        uint256 kink2;
        uint256 rateAtUtilizationZero;
        uint256 rateAtUtilizationKink1;
        uint256 rateAtUtilizationKink2;
        uint256 rateAtUtilizationMax;
    }

    struct RateData {
        uint256 version;
        RateDataV1 rateDataV1;
        RateDataV2 rateDataV2;
    }

    struct OverallTokenData {
        uint256 borrowRate;
        uint256 supplyRate;
        uint256 fee;
        uint256 lastStoredUtilization;
        uint256 storageUpdateThreshold;
        uint256 lastUpdateTimestamp;
        uint256 supplyExchangePrice;
        uint256 borrowExchangePrice;
        uint256 supplyRawInterest;
        uint256 supplyInterestFree;
        uint256 borrowRawInterest;
        uint256 borrowInterestFree;
        uint256 totalSupply;
        uint256 totalBorrow;
        uint256 revenue;
        uint256 maxUtilization;
        RateData rateData;
    }

    mapping(address => OverallTokenData) private stored;

    /// `corners`: utilisations of the kinks, then the rates at none, at each kink and at 100 %, in basis points.
    function configure(address token, uint256[] calldata corners, uint256 fee) external {
        OverallTokenData storage d = stored[token];
        (d.fee, d.maxUtilization, d.lastUpdateTimestamp) = (fee, 1e4, block.timestamp);
        (d.supplyExchangePrice, d.borrowExchangePrice) = (1e12, 1e12);
        d.rateData.version = corners.length == 4 ? 1 : 2;
        if (corners.length == 4) {
            d.rateData.rateDataV1 = RateDataV1(token, corners[0], corners[1], corners[2], corners[3]);
        } else {
            d.rateData.rateDataV2 =
                RateDataV2(token, corners[0], corners[1], corners[2], corners[3], corners[4], corners[5]);
        }
    }

    /// Amounts with and without interest that are lent to the layer and by it; what is withdrawn leaves it.
    function operate(address token, int256 supply, int256 supplyFree, int256 borrow, int256 borrowFree) external {
        OverallTokenData memory d = getOverallTokenData(token);
        OverallTokenData storage s = stored[token];
        s.supplyRawInterest = add(d.supplyRawInterest, supply * 1e12 / int256(d.supplyExchangePrice));
        s.borrowRawInterest = add(d.borrowRawInterest, borrow * 1e12 / int256(d.borrowExchangePrice));
        s.supplyInterestFree = add(d.supplyInterestFree, supplyFree);
        s.borrowInterestFree = add(d.borrowInterestFree, borrowFree);
        (s.supplyExchangePrice, s.borrowExchangePrice) = (d.supplyExchangePrice, d.borrowExchangePrice);
        s.lastUpdateTimestamp = block.timestamp;
        d = getOverallTokenData(token);
        s.lastStoredUtilization = d.totalSupply == 0 ? 0 : d.totalBorrow * 1e4 / d.totalSupply;
        s.borrowRate = rateAt(d.rateData, s.lastStoredUtilization);
        int256 leaving = borrow + borrowFree - supply - supplyFree;
        if (leaving > 0) pay(token, uint256(leaving));
    }

    function setStoredRate(address token, uint256 rate) external {
        stored[token].borrowRate = rate;
    }

    function getOverallTokenData(address token) public view returns (OverallTokenData memory d) {
        d = stored[token];
        uint256 passed = block.timestamp - d.lastUpdateTimestamp;
        uint256 lent = d.supplyRawInterest * d.supplyExchangePrice;
        uint256 owed = d.borrowRawInterest * d.borrowExchangePrice;
        if (lent != 0) d.supplyRate = d.borrowRate * (1e4 - d.fee) * owed / (lent * 1e4);
        d.supplyExchangePrice += d.supplyExchangePrice * d.supplyRate * passed / (365 days * 1e4);
        d.borrowExchangePrice += d.borrowExchangePrice * d.borrowRate * passed / (365 days * 1e4);
        d.totalSupply = d.supplyRawInterest * d.supplyExchangePrice / 1e12 + d.supplyInterestFree;
        d.totalBorrow = d.borrowRawInterest * d.borrowExchangePrice / 1e12 + d.borrowInterestFree;
        uint256 held = (token == NATIVE ? address(this).balance : IMoney(token).balanceOf(address(this))) + d.totalBorrow;
        d.revenue = held > d.totalSupply ? held - d.totalSupply : 0;
    }

    function rateAt(RateData memory r, uint256 used) private pure returns (uint256) {
        if (r.version == 1) {
            RateDataV1 memory one = r.rateDataV1;
            return used < one.kink
                ? line(0, one.rateAtUtilizationZero, one.kink, one.rateAtUtilizationKink, used)
                : line(one.kink, one.rateAtUtilizationKink, 1e4, one.rateAtUtilizationMax, used);
        }
        RateDataV2 memory two = r.rateDataV2;
        if (used < two.kink1) return line(0, two.rateAtUtilizationZero, two.kink1, two.rateAtUtilizationKink1, used);
        return used < two.kink2
            ? line(two.kink1, two.rateAtUtilizationKink1, two.kink2, two.rateAtUtilizationKink2, used)
            : line(two.kink2, two.rateAtUtilizationKink2, 1e4, two.rateAtUtilizationMax, used);
    }

    /// Through both points, with a slope of twelve decimals.
    function line(uint256 x1, uint256 y1, uint256 x2, uint256 y2, uint256 x) private pure returns (uint256) {
        int256 slope = (int256(y2) - int256(y1)) * 1e12 / int256(x2 - x1);
        return uint256(slope * (int256(x) - int256(x1)) + int256(y1) * 1e12) / 1e12;
    }

    function add(uint256 amount, int256 change) private pure returns (uint256) {
        return uint256(int256(amount) + change);
    }

    function pay(address token, uint256 amount) private {
        if (token == NATIVE) payable(msg.sender).transfer(amount);
        else IMoney(token).transfer(msg.sender, amount);
    }
}
