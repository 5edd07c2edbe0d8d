// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Store} from "Store.sol";

struct Price {
    uint256 min;
    uint256 max;
}

struct Prices {
    Price index;
    Price long;
    Price short;
}

struct Market {
    address token;
    address index;
    address long;
    address short;
}

struct Position {
    address account;
    address market;
    address collateral;
    bool isLong;
    uint256 sizeUsd;
    uint256 sizeTokens;
    uint256 collateralAmount;
    int256 pendingImpact;
    uint256 borrowingFactor;
    uint256 fundingPerSize;
    uint256 claimLong;
    uint256 claimShort;
}

struct Due {
    uint256 borrowingUsd;
    uint256 borrowing;
    uint256 funding;
    uint256 claimLong;
    uint256 claimShort;
}

/// What the writing and the reading side of the stand-in share: where values are kept, which is GMX's own layout of the
/// DataStore, and how fees, funding, impact and profit come about.
///
/// Simplified: the borrowing rate is a constant a second, and funding is a factor times the imbalance, or a saved factor
/// as it is written, whose sign is who pays; the factor is of those who pay, as since v2.2. The impact has the exponent 2
/// and one factor on either side of balance; there is no virtual inventory, no referral and no discount. Token amounts
/// are written, not transferred.
abstract contract Book {
    uint256 internal constant ONE = 1e30;
    uint256 internal constant PER_SIZE = 1e45;

    function _name(string memory name) internal pure returns (bytes32) {
        return keccak256(abi.encode(name));
    }

    function _of(string memory name, address market) internal pure returns (bytes32) {
        return keccak256(abi.encode(_name(name), market));
    }

    function _of(string memory name, address market, bool side) internal pure returns (bytes32) {
        return keccak256(abi.encode(_name(name), market, side));
    }

    function _of(string memory name, address market, address token, bool side) internal pure returns (bytes32) {
        return keccak256(abi.encode(_name(name), market, token, side));
    }

    function _member(bytes32 key, string memory name) internal pure returns (bytes32) {
        return keccak256(abi.encode(key, _name(name)));
    }

    function _market(Store store, address token) internal view returns (Market memory) {
        bytes32 key = bytes32(uint256(uint160(token)));
        return Market(
            token,
            store.getAddress(_member(key, "INDEX_TOKEN")),
            store.getAddress(_member(key, "LONG_TOKEN")),
            store.getAddress(_member(key, "SHORT_TOKEN"))
        );
    }

    /// A market with one collateral token keeps one number for both; each half is the long and the short token's.
    function _total(Store store, string memory name, Market memory market, bool side) internal view returns (uint256) {
        uint256 sum = store.getUint(_of(name, market.token, market.long, side));
        return market.long == market.short ? sum : sum + store.getUint(_of(name, market.token, market.short, side));
    }

    function _read(Store store, bytes32 key) internal view returns (Position memory position) {
        position.account = store.getAddress(_member(key, "ACCOUNT"));
        position.market = store.getAddress(_member(key, "MARKET"));
        position.collateral = store.getAddress(_member(key, "COLLATERAL_TOKEN"));
        position.isLong = store.getBool(_member(key, "IS_LONG"));
        position.sizeUsd = store.getUint(_member(key, "SIZE_IN_USD"));
        position.sizeTokens = store.getUint(_member(key, "SIZE_IN_TOKENS"));
        position.collateralAmount = store.getUint(_member(key, "COLLATERAL_AMOUNT"));
        position.pendingImpact = store.getInt(_member(key, "PENDING_IMPACT_AMOUNT"));
        position.borrowingFactor = store.getUint(_member(key, "BORROWING_FACTOR"));
        position.fundingPerSize = store.getUint(_member(key, "FUNDING_FEE_AMOUNT_PER_SIZE"));
        position.claimLong = store.getUint(_member(key, "LONG_TOKEN_CLAIMABLE_FUNDING_AMOUNT_PER_SIZE"));
        position.claimShort = store.getUint(_member(key, "SHORT_TOKEN_CLAIMABLE_FUNDING_AMOUNT_PER_SIZE"));
    }

    // --- funding and borrowing ---------------------------------------------------------------------------------

    function _fundingFactor(Store store, Market memory market) internal view returns (bool longsPay, uint256 factor) {
        uint256 long = _total(store, "OPEN_INTEREST", market, true);
        uint256 short = _total(store, "OPEN_INTEREST", market, false);
        longsPay = long > short;
        if (long == 0 || short == 0) return (longsPay, 0);
        int256 saved = store.getInt(_of("SAVED_FUNDING_FACTOR_PER_SECOND", market.token));
        if (saved != 0) return (saved > 0, uint256(saved > 0 ? saved : -saved));
        uint256 imbalance = longsPay ? long - short : short - long;
        factor = store.getUint(_of("FUNDING_FACTOR", market.token)) * imbalance / (long + short);
    }

    /// Funding due since it was last written, in USD for each USD of the side that pays and of the side that receives.
    function _funding(Store store, Market memory market)
        internal
        view
        returns (bool longsPay, uint256 paid, uint256 received)
    {
        uint256 factor;
        (longsPay, factor) = _fundingFactor(store, market);
        uint256 since = block.timestamp - store.getUint(_of("FUNDING_UPDATED_AT", market.token));
        uint256 payers = _total(store, "OPEN_INTEREST", market, longsPay);
        uint256 receivers = _total(store, "OPEN_INTEREST", market, !longsPay);
        if (payers == 0 || receivers == 0) return (longsPay, 0, 0);
        uint256 usd = payers * (factor * since) / ONE;
        paid = usd * 1e30 / payers;
        received = usd * 1e30 / receivers;
    }

    /// Growth of the fee's amount per size, in tokens of that price, rounded up; scaled by 1e45.
    function _fee(uint256 perUsd, uint256 price) internal pure returns (uint256) {
        return (perUsd * 1e15 + price - 1) / price;
    }

    /// What one token's payers pay, as a share of all that is paid: receivers get it in that very token.
    function _claim(Store store, Market memory market, address token, bool payers, uint256 received, uint256 price)
        internal
        view
        returns (uint256)
    {
        uint256 all = _total(store, "OPEN_INTEREST", market, payers);
        if (all == 0) return 0;
        uint256 own = store.getUint(_of("OPEN_INTEREST", market.token, token, payers));
        if (market.long == market.short) own /= 2;
        return received * 1e15 / price * own / all;
    }

    function _cumulative(Store store, address market, bool side, bool withPending) internal view returns (uint256 value) {
        value = store.getUint(_of("CUMULATIVE_BORROWING_FACTOR", market, side));
        if (withPending) {
            uint256 since = block.timestamp - store.getUint(_of("FUNDING_UPDATED_AT", market));
            value += since * store.getUint(_of("BORROWING_FACTOR", market, side));
        }
    }

    function _indices(Store store, Market memory market, Prices memory prices, Position memory at, bool withPending)
        internal
        view
        returns (uint256 fee, uint256 long, uint256 short)
    {
        fee = store.getUint(_of("FUNDING_FEE_AMOUNT_PER_SIZE", market.token, at.collateral, at.isLong));
        long = store.getUint(_of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", market.token, market.long, at.isLong));
        short = store.getUint(_of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", market.token, market.short, at.isLong));
        if (!withPending) return (fee, long, short);
        (bool longsPay, uint256 paid, uint256 received) = _funding(store, market);
        if (longsPay == at.isLong) {
            fee += _fee(paid, at.collateral == market.long ? prices.long.max : prices.short.max);
        } else {
            uint256 twice = market.long == market.short ? 2 : 1; // both halves go to one index
            long += twice * _claim(store, market, market.long, longsPay, received, prices.long.max);
            short += twice * _claim(store, market, market.short, longsPay, received, prices.short.max);
        }
    }

    function _due(Store store, Market memory market, Prices memory prices, Position memory at, bool withPending)
        internal
        view
        returns (Due memory due)
    {
        uint256 price = at.collateral == market.long ? prices.long.min : prices.short.min;
        uint256 grown = _cumulative(store, market.token, at.isLong, withPending) - at.borrowingFactor;
        due.borrowingUsd = at.sizeUsd * grown / ONE;
        due.borrowing = due.borrowingUsd / price;
        (uint256 fee, uint256 long, uint256 short) = _indices(store, market, prices, at, withPending);
        due.funding = (at.sizeUsd * (fee - at.fundingPerSize) + PER_SIZE - 1) / PER_SIZE;
        due.claimLong = at.sizeUsd * (long - at.claimLong) / PER_SIZE;
        due.claimShort = at.sizeUsd * (short - at.claimShort) / PER_SIZE;
    }

    // --- profit and impact -------------------------------------------------------------------------------------

    /// Profit cut to the traders' share of the pool (MAX_PNL_FACTOR_FOR_TRADERS), and uncut.
    function _profit(Store store, Market memory market, Prices memory prices, Position memory at)
        internal
        view
        returns (int256 cut, int256 uncut)
    {
        uncut = int256(at.sizeTokens * prices.index.min) - int256(at.sizeUsd);
        if (!at.isLong) uncut = -uncut;
        cut = uncut;
        if (uncut <= 0) return (cut, uncut);
        int256 all = _poolProfit(store, market, prices, at.isLong);
        uint256 pool = _pool(store, market, prices, at.isLong);
        int256 most = int256(pool * store.getUint(_of("MAX_PNL_FACTOR_FOR_TRADERS", market.token, at.isLong)) / ONE);
        if (all > most && most > 0) cut = uncut * most / all;
    }

    function _poolProfit(Store store, Market memory market, Prices memory prices, bool side)
        internal
        view
        returns (int256 profit)
    {
        uint256 worth = _total(store, "OPEN_INTEREST_IN_TOKENS", market, side) * prices.index.max;
        profit = int256(worth) - int256(_total(store, "OPEN_INTEREST", market, side));
        if (!side) profit = -profit;
    }

    function _pool(Store store, Market memory market, Prices memory prices, bool side) internal view returns (uint256) {
        address token = side ? market.long : market.short;
        uint256 amount = store.getUint(keccak256(abi.encode(_name("POOL_AMOUNT"), market.token, token)));
        if (market.long == market.short) amount /= 2;
        return amount * (side ? prices.long.min : prices.short.min);
    }

    /// Impact of closing a position whole, cut where it is a gain (capPositiveImpactUsdByMaxPositionImpact: the lesser
    /// of the greatest gain and the greatest loss), and whether it improves the balance.
    function _impact(Store store, Market memory market, Position memory at) internal view returns (int256, bool) {
        uint256 long = _total(store, "OPEN_INTEREST", market, true);
        uint256 short = _total(store, "OPEN_INTEREST", market, false);
        uint256 before = long > short ? long - short : short - long;
        at.isLong ? long -= at.sizeUsd : short -= at.sizeUsd;
        uint256 next = long > short ? long - short : short - long;
        bool improved = next < before;
        uint256 factor = store.getUint(_of("POSITION_IMPACT_FACTOR", market.token, improved));
        uint256 high = improved ? before : next;
        uint256 low = improved ? next : before;
        int256 size = int256((high * high / ONE - low * low / ONE) * factor / ONE);
        if (!improved) return (-size, false);
        int256 cap = _mostGain(store, market.token, at.sizeUsd);
        return (size < cap ? size : cap, true);
    }

    function _mostGain(Store store, address token, uint256 sizeUsd) private view returns (int256) {
        uint256 gain = store.getUint(_of("MAX_POSITION_IMPACT_FACTOR", token, true));
        uint256 loss = store.getUint(_of("MAX_POSITION_IMPACT_FACTOR", token, false));
        return int256(sizeUsd * (gain < loss ? gain : loss) / ONE);
    }
}
