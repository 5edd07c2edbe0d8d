// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IVault {
    function convertToAssets(uint256 shares) external view returns (uint256);

    function decimals() external view returns (uint8);

    function asset() external view returns (address);
}

interface IBaseFeed {
    function latestAnswer() external view returns (int256);

    function decimals() external view returns (uint8);
}

/// Imitates the public interface of Aave's correlated-asset price adapters for vault shares (the price of a share as
/// the price of what lies at the bottom of its vaults times their exchange rates): BASE_TO_USD_AGGREGATOR,
/// RATIO_PROVIDER, RATIO_DECIMALS, DECIMALS, getRatio, latestAnswer, decimals, description. It does not imitate the cap
/// on the ratio's growth, the snapshots behind that cap or its administration: the ratio is what the vaults say now.
contract ShareFeed {
    IBaseFeed public immutable BASE_TO_USD_AGGREGATOR;
    address public immutable RATIO_PROVIDER;
    uint8 public immutable DECIMALS;
    uint8 public constant RATIO_DECIMALS = 18;

    string public description;
    IVault[] private vaults;
    uint256 private immutable unit;

    /// `vaults_` from the top one down; the asset of the last is what `base` prices.
    constructor(string memory description_, IBaseFeed base, IVault[] memory vaults_) {
        description = description_;
        BASE_TO_USD_AGGREGATOR = base;
        RATIO_PROVIDER = address(vaults_[0]);
        DECIMALS = base.decimals();
        vaults = vaults_;
        uint8 bottom = IVault(vaults_[vaults_.length - 1].asset()).decimals();
        unit = 10 ** (uint256(vaults_[0].decimals()) + RATIO_DECIMALS - bottom);
    }

    function decimals() external view returns (uint8) {
        return DECIMALS;
    }

    function getRatio() public view returns (int256) {
        uint256 amount = unit;
        for (uint256 i = 0; i < vaults.length; i++) {
            amount = vaults[i].convertToAssets(amount);
        }
        return int256(amount);
    }

    function latestAnswer() external view returns (int256) {
        return (BASE_TO_USD_AGGREGATOR.latestAnswer() * getRatio()) / int256(10 ** uint256(RATIO_DECIMALS));
    }
}
