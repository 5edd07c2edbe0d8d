// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IFeed {
    function latestAnswer() external view returns (int256);
}

/// Imitates gTrade's GNSMultiCollatDiamond, release v10, as its readers see it: collaterals, pairs, trades with their
/// infos and terms of liquidation, holding fees of both kinds and funding, realised profit, and the liquidation price.
/// Written from the published formulas. Simplified: funding and borrowing rates are constants, the old borrowing fee is
/// a constant a block for trades of before v10, a trader has no spread of its own, and there are no orders, no price
/// impact, no group of pairs, no closing; nothing is transferred.
contract Diamond {
    struct Collateral {
        address collateral;
        bool isActive;
        uint88 placeholder;
        uint128 precision;
        uint128 precisionDelta;
    }

    struct Feed {
        address feed1;
        address feed2;
        uint8 feedCalculation;
        uint256 maxDeviationP;
    }

    struct Pair {
        string from;
        string to;
        Feed feed;
        uint256 spreadP;
        uint256 groupIndex;
        uint256 feeIndex;
    }

    struct Terms {
        uint256 feeP;
        uint256 minPositionSizeUsd;
        uint256 maxLeverage;
        uint16 counterMultiplier;
        uint256 borrowingRatePerSecondP;
        int256 fundingRatePerSecondP;
        uint256 oldFeePerBlockP;
    }

    struct Trade {
        address user;
        uint32 index;
        uint16 pairIndex;
        uint24 leverage;
        bool long;
        bool isOpen;
        uint8 collateralIndex;
        uint8 tradeType;
        uint120 collateralAmount;
        uint64 openPrice;
        uint64 tp;
        uint64 sl;
        bool isCounterTrade;
        uint160 positionSizeToken;
        uint24 placeholder;
    }

    struct TradeInfo {
        uint32 createdBlock;
        uint32 tpLastUpdatedBlock;
        uint32 slLastUpdatedBlock;
        uint16 maxSlippageP;
        uint48 lastOiUpdateTs;
        uint48 collateralPriceUsd;
        uint8 contractsVersion;
        uint32 lastPosIncreaseBlock;
        uint8 placeholder;
    }

    struct Limits {
        uint40 maxLiqSpreadP;
        uint40 startLiqThresholdP;
        uint40 endLiqThresholdP;
        uint24 startLeverage;
        uint24 endLeverage;
    }

    struct Accrued {
        uint256 borrowing;
        int256 funding;
        uint256 at;
    }

    struct HoldingFees {
        int256 fundingFeeCollateral;
        uint256 borrowingFeeCollateral;
        uint256 borrowingFeeCollateral_old;
        int256 totalFeeCollateral;
    }

    struct LiqPriceInput {
        uint8 collateralIndex;
        address trader;
        uint16 pairIndex;
        uint32 index;
        uint64 openPrice;
        bool long;
        uint256 collateral;
        uint256 leverage;
        int256 additionalFeeCollateral;
        Limits liquidationParams;
        uint64 currentPairPrice;
        bool isCounterTrade;
        uint256 partialCloseMultiplier;
        bool beforeOpened;
    }

    struct Oi {
        uint128 oiLongToken;
        uint128 oiShortToken;
    }

    struct FundingFeeParams {
        uint112 skewCoefficientPerYear;
        uint24 absoluteVelocityPerYearCap;
        uint24 absoluteRatePerSecondCap;
        uint32 thetaThresholdUsd;
        bool fundingFeesEnabled;
        bool aprMultiplierEnabled;
        uint48 placeholder;
    }

    uint8 public getCurrentContractsVersion = 2;
    uint8 public getTradingActivated;
    Collateral[] private _collaterals;
    Pair[] private _pairs;
    Terms[] private _terms;
    address[] private _traders;
    mapping(uint8 => address) public getGToken;
    mapping(uint8 => address) public getCollateralUsdPriceFeed;
    mapping(address => Trade[]) private _trades;
    mapping(address => TradeInfo[]) private _infos;
    mapping(address => Limits[]) private _limits;
    mapping(address => mapping(uint32 => Accrued)) private _initial;
    mapping(address => mapping(uint32 => int256)) private _realizedPnl;
    mapping(address => mapping(uint32 => uint256)) private _realizedFees;
    mapping(uint8 => mapping(uint16 => Accrued)) private _accrued;
    mapping(uint8 => mapping(uint16 => Oi)) private _oi;
    mapping(uint8 => mapping(uint16 => bool)) private _isFundingOff;

    // --- writing -----------------------------------------------------------------------------------------------

    function setVersion(uint8 version) external {
        getCurrentContractsVersion = version;
    }

    function setTradingActivated(uint8 state) external {
        getTradingActivated = state;
    }

    /// Switches funding off, after it is brought up to date.
    function stopFunding(uint8 collateral, uint16 pair, uint64 price) external {
        (uint256 borrowing, int256 funding) = _now(collateral, pair, price);
        _accrued[collateral][pair] = Accrued(borrowing, funding, block.timestamp);
        _isFundingOff[collateral][pair] = true;
    }

    function addOi(uint8 collateral, uint16 pair, uint128 long) external {
        _oi[collateral][pair].oiLongToken += long;
    }

    function addCollateral(address token, address feed, address vault, uint8 decimals) external {
        _collaterals.push(Collateral(token, true, 0, uint128(10 ** decimals), uint128(10 ** (18 - decimals))));
        uint8 index = uint8(_collaterals.length);
        getGToken[index] = vault;
        getCollateralUsdPriceFeed[index] = feed;
    }

    function addPair(string calldata from, string calldata to, address feed, uint256 spreadP, Terms calldata terms)
        external
    {
        _pairs.push(Pair(from, to, Feed(feed, address(0), 0, 1e12), spreadP, 0, _pairs.length));
        _terms.push(terms);
    }

    /// Opens a trade (or stores an order, where tradeType is not 0) and brings its pair's fees up to date. Its size in
    /// tokens is given where the price impact of the skew, which is in the price of its opening alone, is not nothing.
    function open(Trade memory trade, uint8 version, Limits calldata limits, uint64 price) external {
        Trade[] storage own = _trades[trade.user];
        if (own.length == 0) _traders.push(trade.user);
        trade.index = uint32(own.length);
        trade.isOpen = true;
        (uint256 borrowing, int256 funding) = _now(trade.collateralIndex, trade.pairIndex, price);
        _accrued[trade.collateralIndex][trade.pairIndex] = Accrued(borrowing, funding, block.timestamp);
        uint256 size = uint256(trade.collateralAmount) * trade.leverage / 1e3;
        size = size * _collaterals[trade.collateralIndex - 1].precisionDelta * 1e10 / trade.openPrice;
        if (trade.positionSizeToken == 0) trade.positionSizeToken = uint160(size);
        size = trade.positionSizeToken;
        if (version == 2 && trade.tradeType == 0) {
            Oi storage oi = _oi[trade.collateralIndex][trade.pairIndex];
            trade.long ? oi.oiLongToken += uint128(size) : oi.oiShortToken += uint128(size);
        }
        _initial[trade.user][trade.index] = Accrued(borrowing, trade.long ? funding : -funding, block.timestamp);
        own.push(trade);
        _infos[trade.user].push(
            TradeInfo(uint32(block.number), 0, 0, 1000, uint48(block.timestamp), 0, version, uint32(block.number), 0)
        );
        _limits[trade.user].push(limits);
    }

    function realize(address trader, uint32 index, int256 pnl, uint256 fees) external {
        _realizedPnl[trader][index] += pnl;
        _realizedFees[trader][index] += fees;
    }

    // --- storage -----------------------------------------------------------------------------------------------

    function getCollaterals() external view returns (Collateral[] memory) {
        return _collaterals;
    }

    function pairs(uint256 index) external view returns (Pair memory) {
        return _pairs[index];
    }

    function pairsCount() external view returns (uint256) {
        return _pairs.length;
    }

    function pairSpreadP(address, uint256 index) public view returns (uint256) {
        return _pairs[index].spreadP;
    }

    function pairTotalPositionSizeFeeP(uint256 index) public view returns (uint256) {
        return _terms[index].feeP;
    }

    function pairMinPositionSizeUsd(uint256 index) public view returns (uint256) {
        return _terms[index].minPositionSizeUsd;
    }

    function pairMaxLeverage(uint256 index) external view returns (uint256) {
        return _terms[index].maxLeverage;
    }

    function getPairCounterTradeFeeRateMultiplier(uint16 index) public view returns (uint16) {
        return _terms[index].counterMultiplier;
    }

    function getTradersCount() external view returns (uint256) {
        return _traders.length;
    }

    /// As the original: the end is included, 0 is all, and places of traders without trades are left empty.
    function getTraders(uint32 offset, uint32 limit) external view returns (address[] memory found) {
        uint32 last = uint32(_traders.length) - 1;
        if (limit == 0 || limit > last) limit = last;
        found = new address[](limit - offset + 1);
        uint256 at;
        for (uint32 i = offset; i <= limit; ++i) {
            if (_trades[_traders[i]].length > 0) found[at++] = _traders[i];
        }
    }

    function getTrades(address trader) external view returns (Trade[] memory) {
        return _trades[trader];
    }

    function getTradeInfos(address trader) external view returns (TradeInfo[] memory) {
        return _infos[trader];
    }

    function getTradesLiquidationParams(address trader) external view returns (Limits[] memory) {
        return _limits[trader];
    }

    function getPairOiAfterV10Token(uint8 collateral, uint16 pair) external view returns (Oi memory) {
        return _oi[collateral][pair];
    }

    function getCollateralPriceUsd(uint8 index) public view returns (uint256) {
        return uint256(IFeed(getCollateralUsdPriceFeed[index]).latestAnswer());
    }

    // --- fees --------------------------------------------------------------------------------------------------

    function _now(uint8 collateral, uint16 pair, uint64 price)
        private
        view
        returns (uint256 borrowing, int256 funding)
    {
        Accrued memory last = _accrued[collateral][pair];
        uint256 since = last.at == 0 ? 0 : block.timestamp - last.at;
        borrowing = last.borrowing + _terms[pair].borrowingRatePerSecondP * since * price;
        funding = last.funding;
        if (_isFundingOff[collateral][pair]) return (borrowing, funding);
        funding += _terms[pair].fundingRatePerSecondP * int256(since) * int256(uint256(price)) / 1e8;
    }

    function getPairFundingFeeParams(uint8[] calldata collaterals, uint16[] calldata listed)
        external
        view
        returns (FundingFeeParams[] memory params)
    {
        params = new FundingFeeParams[](listed.length);
        for (uint256 i; i < listed.length; ++i) {
            params[i].fundingFeesEnabled = !_isFundingOff[collaterals[i]][listed[i]];
        }
    }

    function getPairPendingAccFundingFees(uint8 collateral, uint16 pair, uint64 price)
        external
        view
        returns (int128 long, int128 short, int56 rate)
    {
        (, int256 funding) = _now(collateral, pair, price);
        return (int128(funding), -int128(funding), int56(_terms[pair].fundingRatePerSecondP));
    }

    function getTradePendingHoldingFeesCollateral(address trader, uint32 index, uint64 price)
        public
        view
        returns (HoldingFees memory fees)
    {
        Trade memory trade = _trades[trader][index];
        TradeInfo memory info = _infos[trader][index];
        Accrued memory initial = _initial[trader][index];
        uint256 size = uint256(trade.collateralAmount) * trade.leverage / 1e3;
        (uint256 borrowing, int256 funding) = _now(trade.collateralIndex, trade.pairIndex, price);
        if (!trade.long) funding = -funding;
        if (info.contractsVersion >= 2) {
            fees.fundingFeeCollateral =
                int256(size) * (funding - initial.funding) / int256(uint256(trade.openPrice)) / 1e10 / 100;
        } else {
            uint256 perBlock = _terms[trade.pairIndex].oldFeePerBlockP;
            fees.borrowingFeeCollateral_old = size * perBlock * (block.number - info.createdBlock) / 1e10 / 100;
        }
        fees.borrowingFeeCollateral = size * (borrowing - initial.borrowing) / trade.openPrice / 1e10 / 100;
        fees.totalFeeCollateral =
            fees.fundingFeeCollateral + int256(fees.borrowingFeeCollateral + fees.borrowingFeeCollateral_old);
    }

    function getTradeRealizedPnlCollateral(address trader, uint32 index)
        public
        view
        returns (int256 pnl, uint256 fees, int256 total)
    {
        pnl = _realizedPnl[trader][index];
        fees = _realizedFees[trader][index];
        total = pnl - int256(fees);
    }

    // --- liquidation -------------------------------------------------------------------------------------------

    function _closingFee(LiqPriceInput calldata input) private view returns (uint256) {
        uint256 least = pairMinPositionSizeUsd(input.pairIndex) * 1e8 / getCollateralPriceUsd(input.collateralIndex)
            / _collaterals[input.collateralIndex - 1].precisionDelta * 1e3;
        uint256 multiplier = input.isCounterTrade ? getPairCounterTradeFeeRateMultiplier(input.pairIndex) : 1e3;
        uint256 size = input.collateral * input.leverage / 1e3 * multiplier;
        return (size > least ? size : least) * pairTotalPositionSizeFeeP(input.pairIndex) / 1e10 / 100 / 1e3;
    }

    function _threshold(Limits calldata limits, uint256 leverage) private pure returns (uint256) {
        if (limits.maxLiqSpreadP == 0) return 90 * 1e10;
        if (leverage <= limits.startLeverage) return limits.startLiqThresholdP;
        if (leverage >= limits.endLeverage) return limits.endLiqThresholdP;
        uint256 range = limits.startLiqThresholdP - limits.endLiqThresholdP;
        return limits.startLiqThresholdP
            - (leverage - limits.startLeverage) * range / (limits.endLeverage - limits.startLeverage);
    }

    function getTradeLiquidationPrice(LiqPriceInput calldata input) external view returns (uint256) {
        int256 fees = int256(_closingFee(input)) + input.additionalFeeCollateral;
        if (!input.beforeOpened) {
            int256 held =
                getTradePendingHoldingFeesCollateral(input.trader, input.index, input.currentPairPrice).totalFeeCollateral;
            (,, int256 realized) = getTradeRealizedPnlCollateral(input.trader, input.index);
            fees += (held - realized) * int256(input.partialCloseMultiplier) / 1e18;
        }
        int256 unit = int256(uint256(_collaterals[input.collateralIndex - 1].precisionDelta));
        int256 opened = int256(uint256(input.openPrice));
        int256 loss = int256(input.collateral * _threshold(input.liquidationParams, input.leverage)) * unit * 1e3 / 1e12;
        int256 distance =
            opened * (loss - fees * unit * 1e3) / int256(input.collateral) / int256(input.leverage) / unit;
        if (_infos[input.trader][input.index].contractsVersion >= 1) {
            uint256 spread = pairSpreadP(input.trader, input.pairIndex) / 2;
            uint256 most = input.liquidationParams.maxLiqSpreadP;
            if (spread > most) spread = most;
            distance -= opened * int256(spread) / 1e12;
        }
        int256 price = input.long ? opened - distance : opened + distance;
        return price > 0 ? uint256(price) : 0;
    }
}
