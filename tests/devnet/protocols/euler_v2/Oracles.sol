// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IQuotes {
    function getQuote(uint256 inAmount, address base, address quote) external view returns (uint256);
}

interface IShareRate {
    function asset() external view returns (address);

    function convertToAssets(uint256 shares) external view returns (uint256);
}

interface IFeedAnswers {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);

    function latestAnswer() external view returns (int256);

    function getRatio() external view returns (int256);
}

interface IPlaces {
    function decimals() external view returns (uint8);
}

/// Imitates Euler's EulerRouter as readers see it: which adapter prices a pair, which vaults are priced by their
/// convertToAssets, and the quotes. It does not imitate the fallback oracle or who governs.
contract QuoteRouter {
    string public constant name = "EulerRouter";
    mapping(address => address) public resolvedVaults;
    mapping(address => mapping(address => address)) private adapters;

    function setConfig(address base, address quote, address adapter) external {
        adapters[base][quote] = adapter;
        adapters[quote][base] = adapter;
    }

    function setResolvedVault(address vault) external {
        resolvedVaults[vault] = IShareRate(vault).asset();
    }

    function resolveOracle(uint256 inAmount, address base, address quote)
        public
        view
        returns (uint256, address, address, address)
    {
        if (base == quote) return (inAmount, base, quote, address(0));
        address adapter = adapters[base][quote];
        if (adapter != address(0)) return (inAmount, base, quote, adapter);
        address inner = resolvedVaults[base];
        require(inner != address(0), "PriceOracle_NotSupported");
        return resolveOracle(IShareRate(base).convertToAssets(inAmount), inner, quote);
    }

    function getQuote(uint256 inAmount, address base, address quote) external view returns (uint256) {
        address adapter;
        (inAmount, base, quote, adapter) = resolveOracle(inAmount, base, quote);
        return base == quote ? inAmount : IQuotes(adapter).getQuote(inAmount, base, quote);
    }
}

/// Imitates the adapters of euler-price-oracle: one pair, priced in both directions by an answer of some decimals. A
/// token without decimals() counts 18, as the dollar 0x348 does. `stale` imitates an answer that is too old.
abstract contract PairAdapter {
    address public immutable base;
    address public immutable quote;
    uint256 private immutable baseScale;
    uint256 private immutable quoteScale;
    bool public stale;

    constructor(address base_, address quote_) {
        (base, quote) = (base_, quote_);
        (baseScale, quoteScale) = (10 ** places(base_), 10 ** places(quote_));
    }

    function setStale(bool stale_) external {
        stale = stale_;
    }

    function getQuote(uint256 inAmount, address from, address to) external view returns (uint256) {
        require(!stale, "PriceOracle_TooStale");
        (uint256 answer, uint256 scale) = read();
        if (from == base && to == quote) return inAmount * answer * quoteScale / (scale * baseScale);
        require(from == quote && to == base, "PriceOracle_NotSupported");
        return inAmount * scale * baseScale / (answer * quoteScale);
    }

    function read() internal view virtual returns (uint256 answer, uint256 scale);

    function places(address token) private view returns (uint256) {
        (bool success, bytes memory data) = token.staticcall(abi.encodeCall(IPlaces.decimals, ()));
        return success && data.length == 32 ? abi.decode(data, (uint8)) : 18;
    }
}

contract FeedAdapter is PairAdapter {
    string public constant name = "ChainlinkOracle";
    address public immutable feed;

    constructor(address base_, address quote_, address feed_) PairAdapter(base_, quote_) {
        feed = feed_;
    }

    function read() internal view override returns (uint256, uint256) {
        return (uint256(IFeedAnswers(feed).latestAnswer()), 1e8);
    }
}

contract RateAdapter is PairAdapter {
    string public constant name = "RateProviderOracle";
    address public immutable rateProvider;

    constructor(address base_, address quote_, address provider) PairAdapter(base_, quote_) {
        rateProvider = provider;
    }

    function read() internal view override returns (uint256, uint256) {
        return (uint256(IFeedAnswers(rateProvider).getRatio()), 1e18);
    }
}

contract FixedAdapter is PairAdapter {
    string public constant name = "FixedRateOracle";
    uint256 public immutable rate;

    constructor(address base_, address quote_, uint256 rate_) PairAdapter(base_, quote_) {
        rate = rate_;
    }

    function read() internal view override returns (uint256, uint256) {
        return (rate, 1e18);
    }
}

/// Imitates CrossAdapter: two adapters in a row.
contract CrossAdapter {
    string public constant name = "CrossAdapter";
    address public immutable base;
    address public immutable cross;
    address public immutable quote;
    address public immutable oracleBaseCross;
    address public immutable oracleCrossQuote;

    constructor(address base_, address cross_, address quote_, address first, address second) {
        (base, cross, quote, oracleBaseCross, oracleCrossQuote) = (base_, cross_, quote_, first, second);
    }

    function getQuote(uint256 inAmount, address from, address to) external view returns (uint256) {
        if (from == base) {
            require(to == quote, "PriceOracle_NotSupported");
            inAmount = IQuotes(oracleBaseCross).getQuote(inAmount, base, cross);
            return IQuotes(oracleCrossQuote).getQuote(inAmount, cross, quote);
        }
        require(from == quote && to == base, "PriceOracle_NotSupported");
        inAmount = IQuotes(oracleCrossQuote).getQuote(inAmount, quote, cross);
        return IQuotes(oracleBaseCross).getQuote(inAmount, cross, base);
    }
}
