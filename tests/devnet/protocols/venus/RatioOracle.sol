// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IRatio {
    function getRatio() external view returns (int256);
}

interface IPrices {
    function getPrice(address asset) external view returns (uint256);
}

/// Imitates the public interface of Venus' CorrelatedTokenOracle: the price of a token as an exchange rate times the
/// price of what it is a claim on. The rate is that of a shared feed. It does not imitate the cap on the rate's growth.
contract RatioOracle {
    address public immutable CORRELATED_TOKEN;
    address public immutable UNDERLYING_TOKEN;
    address public immutable RESILIENT_ORACLE;
    address private immutable ratio;

    constructor(address correlated, address underlying, address oracle, address ratio_) {
        CORRELATED_TOKEN = correlated;
        UNDERLYING_TOKEN = underlying;
        RESILIENT_ORACLE = oracle;
        ratio = ratio_;
    }

    function getUnderlyingAmount() public view returns (uint256) {
        return uint256(IRatio(ratio).getRatio());
    }

    function getPrice(address asset) external view returns (uint256) {
        require(asset == CORRELATED_TOKEN, "InvalidTokenAddress");
        return (getUnderlyingAmount() * IPrices(RESILIENT_ORACLE).getPrice(UNDERLYING_TOKEN)) / 1e18;
    }
}
