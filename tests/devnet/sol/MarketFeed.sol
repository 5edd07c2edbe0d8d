// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

/// Imitates a Chainlink USD price feed as its readers see it: latestAnswer, latestRoundData, decimals, description and
/// the AnswerUpdated event. It does not imitate the proxy in front of an aggregator, the history of rounds, the
/// heartbeat, the minimum and maximum answers or any access rule: anyone sets the answer.
contract MarketFeed {
    uint8 public constant decimals = 8;
    uint256 public constant version = 4;

    string public description;
    int256 public latestAnswer;
    uint80 public latestRound;
    uint256 public latestTimestamp;

    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    constructor(string memory description_, int256 answer) {
        description = description_;
        setAnswer(answer);
    }

    function setAnswer(int256 answer) public {
        latestAnswer = answer;
        latestRound += 1;
        latestTimestamp = block.timestamp;
        emit AnswerUpdated(answer, latestRound, block.timestamp);
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (latestRound, latestAnswer, latestTimestamp, latestTimestamp, latestRound);
    }
}
