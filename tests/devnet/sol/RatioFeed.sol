// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IBaseFeed {
    function latestAnswer() external view returns (int256);

    function decimals() external view returns (uint8);
}

/// Imitates the public interface of Aave's correlated-asset price adapters (the price of a staked token as the price
/// of its base asset times an exchange ratio): BASE_TO_USD_AGGREGATOR, RATIO_PROVIDER, RATIO_DECIMALS, DECIMALS,
/// getRatio, latestAnswer, decimals, description. It does not imitate the cap on the ratio's growth, the snapshots
/// behind that cap or its administration; the ratio lies in this contract, which is its own RATIO_PROVIDER, and anyone
/// sets it. As in the original there is no latestRoundData.
contract RatioFeed {
    IBaseFeed public immutable BASE_TO_USD_AGGREGATOR;
    address public immutable RATIO_PROVIDER;
    uint8 public immutable DECIMALS;
    uint8 public constant RATIO_DECIMALS = 18;

    string public description;
    int256 private ratio;

    event RatioUpdated(int256 ratio);

    constructor(string memory description_, IBaseFeed base, int256 ratio_) {
        description = description_;
        BASE_TO_USD_AGGREGATOR = base;
        RATIO_PROVIDER = address(this);
        DECIMALS = base.decimals();
        setRatio(ratio_);
    }

    function setRatio(int256 ratio_) public {
        ratio = ratio_;
        emit RatioUpdated(ratio_);
    }

    function getRatio() public view returns (int256) {
        return ratio;
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function latestAnswer() external view returns (int256) {
        int256 base = BASE_TO_USD_AGGREGATOR.latestAnswer();
        if (base <= 0 || ratio <= 0) {
            return 0;
        }
        return (base * ratio) / int256(10 ** uint256(RATIO_DECIMALS));
    }
}
