// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Book, Market, Position, Prices} from "Book.sol";
import {Store} from "Store.sol";

/// The writing side: lists markets, brings their indices up to date and opens positions, as GMX v2's order handlers
/// leave them in the DataStore. It does not imitate orders, keepers, fees of opening, reserves or closing.
contract Desk is Book {
    Store public immutable store;

    constructor(Store store_) {
        store = store_;
    }

    function list(Market calldata market) external {
        bytes32 key = bytes32(uint256(uint160(market.token)));
        store.addAddress(_name("MARKET_LIST"), market.token);
        store.setAddress(_member(key, "INDEX_TOKEN"), market.index);
        store.setAddress(_member(key, "LONG_TOKEN"), market.long);
        store.setAddress(_member(key, "SHORT_TOKEN"), market.short);
        store.setUint(_of("FUNDING_UPDATED_AT", market.token), block.timestamp);
    }

    /// updateFundingState and updateCumulativeBorrowingFactor.
    function update(address token, Prices calldata prices) public {
        Market memory market = _market(store, token);
        uint256[] memory longs = _grown(market, prices, true);
        uint256[] memory shorts = _grown(market, prices, false);
        _write(market, true, longs);
        _write(market, false, shorts);
        store.setUint(_of("FUNDING_UPDATED_AT", token), block.timestamp);
    }

    function _grown(Market memory market, Prices calldata prices, bool side) private view returns (uint256[] memory to) {
        to = new uint256[](5);
        Position memory at;
        at.isLong = side;
        to[0] = _cumulative(store, market.token, side, true);
        at.collateral = market.long;
        (to[1], to[3], to[4]) = _indices(store, market, prices, at, true);
        at.collateral = market.short;
        (to[2],,) = _indices(store, market, prices, at, true);
    }

    function _write(Market memory market, bool side, uint256[] memory to) private {
        store.setUint(_of("CUMULATIVE_BORROWING_FACTOR", market.token, side), to[0]);
        store.setUint(_of("FUNDING_FEE_AMOUNT_PER_SIZE", market.token, market.long, side), to[1]);
        store.setUint(_of("FUNDING_FEE_AMOUNT_PER_SIZE", market.token, market.short, side), to[2]);
        store.setUint(_of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", market.token, market.long, side), to[3]);
        store.setUint(_of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", market.token, market.short, side), to[4]);
    }

    function open(
        address account,
        address token,
        address collateral,
        bool isLong,
        uint256 sizeUsd,
        uint256 amount,
        int256 pendingImpact,
        Prices calldata prices
    ) external {
        update(token, prices);
        bytes32 key = keccak256(abi.encode(account, token, collateral, isLong));
        store.addBytes32(_name("POSITION_LIST"), key);
        store.setAddress(_member(key, "ACCOUNT"), account);
        store.setAddress(_member(key, "MARKET"), token);
        store.setAddress(_member(key, "COLLATERAL_TOKEN"), collateral);
        store.setBool(_member(key, "IS_LONG"), isLong);
        store.setUint(_member(key, "SIZE_IN_USD"), sizeUsd);
        uint256 tokens = isLong ? sizeUsd / prices.index.max : (sizeUsd + prices.index.min - 1) / prices.index.min;
        store.setUint(_member(key, "SIZE_IN_TOKENS"), tokens);
        store.setUint(_member(key, "COLLATERAL_AMOUNT"), amount);
        store.setInt(_member(key, "PENDING_IMPACT_AMOUNT"), pendingImpact);
        _start(key, token, collateral, isLong);
        _add(_of("OPEN_INTEREST", token, collateral, isLong), sizeUsd);
        _add(_of("OPEN_INTEREST_IN_TOKENS", token, collateral, isLong), tokens);
        _add(_of("COLLATERAL_SUM", token, collateral, isLong), amount);
    }

    function _start(bytes32 key, address token, address collateral, bool isLong) private {
        Market memory market = _market(store, token);
        store.setUint(_member(key, "BORROWING_FACTOR"), _cumulative(store, token, isLong, false));
        _copy(key, "FUNDING_FEE_AMOUNT_PER_SIZE", _of("FUNDING_FEE_AMOUNT_PER_SIZE", token, collateral, isLong));
        bytes32 long = _of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", token, market.long, isLong);
        bytes32 short = _of("CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", token, market.short, isLong);
        _copy(key, "LONG_TOKEN_CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", long);
        _copy(key, "SHORT_TOKEN_CLAIMABLE_FUNDING_AMOUNT_PER_SIZE", short);
    }

    function _copy(bytes32 key, string memory name, bytes32 from) private {
        store.setUint(_member(key, name), store.getUint(from));
    }

    function _add(bytes32 key, uint256 amount) private {
        store.setUint(key, store.getUint(key) + amount);
    }
}
