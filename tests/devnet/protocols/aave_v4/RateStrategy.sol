// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates the AssetInterestRateStrategy of a Hub of Aave v4: rates in basis points by asset, usage of what is drawn,
/// lies in the hub and is swept away together, everything rounded up. It does not imitate its limits, nor that only the
/// hub sets its data.
contract RateStrategy {
    uint256 private constant RAY = 1e27;

    struct InterestRateData {
        uint16 optimalUsageRatio;
        uint32 baseDrawnRate;
        uint32 rateGrowthBeforeOptimal;
        uint32 rateGrowthAfterOptimal;
    }

    mapping(uint256 => InterestRateData) private data;

    function setInterestRateData(uint256 assetId, InterestRateData calldata terms) external {
        data[assetId] = terms;
    }

    function getInterestRateData(uint256 assetId) external view returns (InterestRateData memory) {
        return data[assetId];
    }

    function calculateInterestRate(uint256 assetId, uint256 liquidity, uint256 drawn, uint256, uint256 swept)
        public
        view
        virtual
        returns (uint256 rate)
    {
        InterestRateData memory d = data[assetId];
        require(d.optimalUsageRatio > 0, "InterestRateDataNotSet");
        rate = ray(d.baseDrawnRate);
        if (drawn == 0) return rate;
        uint256 usage = divUp(drawn * RAY, liquidity + drawn + swept);
        uint256 optimal = ray(d.optimalUsageRatio);
        if (usage <= optimal) return rate + part(d.rateGrowthBeforeOptimal, usage, optimal);
        rate += ray(d.rateGrowthBeforeOptimal) + part(d.rateGrowthAfterOptimal, usage - optimal, RAY - optimal);
    }

    function part(uint32 growth, uint256 share, uint256 whole) private pure returns (uint256) {
        return divUp(divUp(ray(growth) * share, RAY) * RAY, whole);
    }

    function ray(uint256 bps) private pure returns (uint256) {
        return bps * 1e23;
    }

    function divUp(uint256 a, uint256 b) private pure returns (uint256) {
        return (a + b - 1) / b;
    }
}

/// A strategy that nobody knows: the other one's data and rates, but for a surcharge where a deficit is left.
contract DeficitStrategy is RateStrategy {
    function calculateInterestRate(uint256 assetId, uint256 liquidity, uint256 drawn, uint256 deficit, uint256 swept)
        public
        view
        override
        returns (uint256)
    {
        return super.calculateInterestRate(assetId, liquidity, drawn, deficit, swept) + (deficit > 0 ? 1e25 : 0);
    }
}
