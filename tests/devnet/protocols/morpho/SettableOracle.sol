// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

/// An oracle of no known make: whatever price anyone sets; it reverts while that is zero.
contract SettableOracle {
    uint256 private answer;

    constructor(uint256 price_) {
        answer = price_;
    }

    function setPrice(uint256 price_) external {
        answer = price_;
    }

    function price() external view returns (uint256) {
        require(answer > 0, "no price");
        return answer;
    }
}
