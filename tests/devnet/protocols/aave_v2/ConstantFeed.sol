// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

/// Imitates BGD's StETHtoETHSynchronicityPriceAdapter, which prices stETH in the Aave v2 market of Ethereum: always one.
contract ConstantFeed {
    uint8 public constant DECIMALS = 18;
    string public description;

    constructor(string memory description_) {
        description = description_;
    }

    function decimals() external pure returns (uint8) {
        return DECIMALS;
    }

    function latestAnswer() external pure returns (int256) {
        return 1 ether;
    }
}
