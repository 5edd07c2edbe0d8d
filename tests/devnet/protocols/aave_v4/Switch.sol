// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates a price source that stops answering: latestAnswer is what anyone sets.
contract Switch {
    int256 public latestAnswer;

    constructor(int256 answer) {
        latestAnswer = answer;
    }

    function set(int256 answer) external {
        latestAnswer = answer;
    }
}
