// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);

    function decimals() external view returns (uint8);
}

interface IVault {
    function convertToAssets(uint256 shares) external view returns (uint256);
}

/// Imitates MorphoChainlinkOracleV2 of morpho-org/morpho-blue-oracles: the nine values it is made of, under their
/// names, and its price, a quotient of products of vault rates and feeds. It does not imitate the checks of its
/// constructor nor the 512-bit product: its numbers must fit 256 bits.
contract QuotientOracle {
    address public immutable BASE_VAULT;
    uint256 public immutable BASE_VAULT_CONVERSION_SAMPLE;
    address public immutable QUOTE_VAULT;
    uint256 public immutable QUOTE_VAULT_CONVERSION_SAMPLE;
    address public immutable BASE_FEED_1;
    address public immutable BASE_FEED_2;
    address public immutable QUOTE_FEED_1;
    address public immutable QUOTE_FEED_2;
    uint256 public immutable SCALE_FACTOR;

    /// feeds: base 1, base 2, quote 1, quote 2; zero where there is none. places: decimals of base and quote token.
    constructor(address vault, uint256 sample, address[4] memory feeds, uint256[2] memory places) {
        BASE_VAULT = vault;
        BASE_VAULT_CONVERSION_SAMPLE = sample;
        QUOTE_VAULT = address(0);
        QUOTE_VAULT_CONVERSION_SAMPLE = 1;
        BASE_FEED_1 = feeds[0];
        BASE_FEED_2 = feeds[1];
        QUOTE_FEED_1 = feeds[2];
        QUOTE_FEED_2 = feeds[3];
        uint256 above = 36 + places[1] + _places(feeds[2]) + _places(feeds[3]);
        SCALE_FACTOR = 10 ** (above - places[0] - _places(feeds[0]) - _places(feeds[1])) / sample;
    }

    function price() external view returns (uint256) {
        uint256 base = BASE_VAULT == address(0) ? 1 : IVault(BASE_VAULT).convertToAssets(BASE_VAULT_CONVERSION_SAMPLE);
        uint256 above = SCALE_FACTOR * base * _answer(BASE_FEED_1) * _answer(BASE_FEED_2);
        return above / (_answer(QUOTE_FEED_1) * _answer(QUOTE_FEED_2));
    }

    function _answer(address feed) private view returns (uint256) {
        if (feed == address(0)) return 1;
        (, int256 answer, , , ) = IFeed(feed).latestRoundData();
        require(answer >= 0, "negative answer");
        return uint256(answer);
    }

    function _places(address feed) private view returns (uint256) {
        return feed == address(0) ? 0 : IFeed(feed).decimals();
    }
}
