// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Book, Due, Market, Position, Price, Prices} from "Book.sol";
import {Store} from "Store.sol";

struct Verdict {
    int256 remainingCollateralUsd;
    int256 minCollateralUsd;
    int256 minCollateralUsdForLeverage;
}

/// Imitates the views of GMX v2's Reader that are read, with the ABI of two releases. A struct of single words is
/// written word by word, at its place in the release. Figures that a reading does not use are left at zero: referrals,
/// the parts of fees for receivers, the execution price.
abstract contract AnyReader is Book {
    function getMarkets(Store store, uint256 start, uint256 end) external view returns (Market[] memory markets) {
        address[] memory keys = store.getAddressValuesAt(_name("MARKET_LIST"), start, end);
        markets = new Market[](keys.length);
        for (uint256 i; i < keys.length; ++i) markets[i] = _market(store, keys[i]);
    }

    /// MarketInfo: the market, two borrowing factors, eight base factors of funding, then the next funding, and at the end
    /// whether the market is disabled; the rest of it, growth of the indices and the virtual inventory, stays zero.
    function getMarketInfo(Store store, Prices calldata, address key) external view {
        Market memory market = _market(store, key);
        uint256[] memory words = new uint256[](29);
        (words[0], words[1]) = (uint160(market.token), uint160(market.index));
        (words[2], words[3]) = (uint160(market.long), uint160(market.short));
        words[4] = store.getUint(_of("BORROWING_FACTOR", key, true));
        words[5] = store.getUint(_of("BORROWING_FACTOR", key, false));
        (bool longsPay, uint256 factor) = _fundingFactor(store, market);
        (words[14], words[15]) = (longsPay ? 1 : 0, factor);
        words[28] = store.getBool(_of("IS_MARKET_DISABLED", key)) ? 1 : 0;
        _answer(words);
    }

    function getAdlState(Store store, address token, bool side, Prices calldata prices)
        external
        view
        returns (uint256, bool, int256, uint256)
    {
        require(!store.getBool(_of("IS_MARKET_DISABLED", token)), "DisabledMarket"); // getEnabledMarket
        Market memory market = _market(store, token);
        uint256 pool = _pool(store, market, prices, side);
        int256 factor = pool == 0 ? int256(0) : _poolProfit(store, market, prices, side) * int256(ONE) / int256(pool);
        uint256 most = store.getUint(
            keccak256(abi.encode(_name("MAX_PNL_FACTOR"), _name("MAX_PNL_FACTOR_FOR_ADL"), token, side))
        );
        return (0, factor > int256(most), factor, most);
    }

    /// `later`: of v2.2, where impact that was put off counts; `forced`: with the factor of liquidation.
    function _verdict(Store store, bytes32 key, Market memory market, Prices calldata prices, bool later, bool forced)
        internal
        view
        returns (bool, string memory, Verdict memory verdict)
    {
        Position memory at = _read(store, key);
        verdict.remainingCollateralUsd = _remaining(store, at, market, prices, later);
        verdict.minCollateralUsd = int256(store.getUint(_name("MIN_COLLATERAL_USD")));
        string memory name = forced ? "MIN_COLLATERAL_FACTOR_FOR_LIQUIDATION" : "MIN_COLLATERAL_FACTOR";
        verdict.minCollateralUsdForLeverage = int256(at.sizeUsd * store.getUint(_of(name, market.token)) / ONE);
        if (verdict.remainingCollateralUsd < verdict.minCollateralUsd) return (true, "min collateral", verdict);
        if (verdict.remainingCollateralUsd <= 0) return (true, "< 0", verdict);
        if (verdict.remainingCollateralUsd < verdict.minCollateralUsdForLeverage) {
            return (true, "min collateral for leverage", verdict);
        }
        return (false, "", verdict);
    }

    /// Margin, profit, the impact of closing within its bounds, less fees as they were last written.
    function _remaining(Store store, Position memory at, Market memory market, Prices calldata prices, bool later)
        private
        view
        returns (int256 usd)
    {
        (int256 impact, bool improved) = _impact(store, market, at);
        if (later) impact += at.pendingImpact * int256(at.pendingImpact > 0 ? prices.index.min : prices.index.max);
        uint256 factor = store.getUint(_of("MAX_POSITION_IMPACT_FACTOR_FOR_LIQUIDATIONS", market.token));
        if (impact < -int256(at.sizeUsd * factor / ONE)) impact = -int256(at.sizeUsd * factor / ONE);
        if (impact > 0) impact = 0;
        (usd,) = _profit(store, market, prices, at);
        uint256 price = at.collateral == market.long ? prices.long.min : prices.short.min;
        Due memory due = _due(store, market, prices, at, false);
        usd += impact + int256(at.collateralAmount * price);
        usd -= int256((_closingFee(store, at, improved, price) + due.borrowing + due.funding) * price);
    }

    function _closingFee(Store store, Position memory at, bool improved, uint256 price) private view returns (uint256) {
        return at.sizeUsd * store.getUint(_of("POSITION_FEE_FACTOR", at.market, improved)) / ONE / price;
    }

    function _info(Store store, bytes32[] calldata keys, Prices[] calldata prices, uint256 size, uint256 shift) internal view {
        uint256[] memory words = new uint256[](2 + keys.length * size);
        (words[0], words[1]) = (32, keys.length);
        for (uint256 i; i < keys.length; ++i) _fill(store, keys[i], prices[i], words, 2 + i * size, shift);
        _answer(words);
    }

    /// `shift`: 1 where a position has the impact put off at its opening, which moves all that follows.
    function _fill(Store store, bytes32 key, Prices calldata prices, uint256[] memory words, uint256 at, uint256 shift)
        private
        view
    {
        Position memory position = _read(store, key);
        require(position.account != address(0), "EmptyPosition");
        words[at] = uint256(key);
        words[at + 1] = uint160(position.account);
        words[at + 2] = uint160(position.market);
        words[at + 3] = uint160(position.collateral);
        words[at + 4] = position.sizeUsd;
        words[at + 5] = position.sizeTokens;
        words[at + 6] = position.collateralAmount;
        if (shift == 1) words[at + 7] = uint256(position.pendingImpact);
        at += shift;
        words[at + 7] = position.borrowingFactor;
        words[at + 8] = position.fundingPerSize;
        words[at + 9] = position.claimLong;
        words[at + 10] = position.claimShort;
        words[at + 13] = position.isLong ? 1 : 0;
        _fees(store, position, prices, words, at + 14);
        (int256 cut, int256 uncut) = _profit(store, _market(store, position.market), prices, position);
        uint256 behind = at + 56 + (shift == 1 ? 6 : 3);
        (words[behind], words[behind + 1]) = (uint256(cut), uint256(uncut));
    }

    function _fees(Store store, Position memory position, Prices calldata prices, uint256[] memory words, uint256 at)
        private
        view
    {
        Market memory market = _market(store, position.market);
        uint256 price = position.collateral == market.long ? prices.long.min : prices.short.min;
        Due memory due = _due(store, market, prices, position, true);
        (int256 impact, bool improved) = _impact(store, market, position);
        uint256 closing = _closingFee(store, position, improved, price);
        words[at + 13] = due.funding;
        words[at + 14] = due.claimLong;
        words[at + 15] = due.claimShort;
        words[at + 19] = due.borrowingUsd;
        words[at + 20] = due.borrowing;
        (words[at + 30], words[at + 31]) = (price, price);
        words[at + 38] = closing;
        words[at + 39] = closing + due.borrowing;
        words[at + 40] = closing + due.borrowing + due.funding;
        words[at + 42] = uint256(impact);
    }

    function _answer(uint256[] memory words) internal pure {
        assembly ("memory-safe") {
            return(add(words, 32), mul(mload(words), 32))
        }
    }
}

/// Release 2.2: a position has its pending impact, and liquidation a factor of its own.
contract Reader22 is AnyReader {
    function getPositionInfoList(Store store, address, bytes32[] calldata keys, Prices[] calldata prices, address)
        external
        view
    {
        _info(store, keys, prices, 67, 1);
    }

    function isPositionLiquidatable(
        Store store,
        address,
        bytes32 key,
        Market calldata market,
        Prices calldata prices,
        bool,
        bool forLiquidation
    ) external view returns (bool, string memory, Verdict memory) {
        return _verdict(store, key, market, prices, true, forLiquidation);
    }
}

/// Release 2.1, which goes by the same factor in opening and liquidation.
contract Reader21 is AnyReader {
    function getPositionInfoList(Store store, address, bytes32[] calldata keys, Prices[] calldata prices, address)
        external
        view
    {
        _info(store, keys, prices, 62, 0);
    }

    function isPositionLiquidatable(
        Store store,
        address,
        bytes32 key,
        Market calldata market,
        Prices calldata prices,
        bool
    ) external view returns (bool, string memory, Verdict memory) {
        return _verdict(store, key, market, prices, false, false);
    }
}

/// A release that is not known: one more word for each position.
contract ReaderNext is AnyReader {
    function getPositionInfoList(Store store, address, bytes32[] calldata keys, Prices[] calldata prices, address)
        external
        view
    {
        _info(store, keys, prices, 68, 1);
    }
}
