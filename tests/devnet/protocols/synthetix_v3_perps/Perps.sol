// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// ERC-7412: what a stale price answers with.
error OracleDataRequired(address oracleContract, bytes oracleQuery);

/// Imitates the account NFT of a perps market: listed by index, minted to anybody.
contract AccountToken {
    uint256[] private _ids;
    mapping(uint256 => address) public ownerOf;

    function mint(address to, uint128 id) external {
        _ids.push(id);
        ownerOf[id] = to;
    }

    function totalSupply() external view returns (uint256) {
        return _ids.length;
    }

    function tokenByIndex(uint256 index) external view returns (uint256) {
        return _ids[index];
    }
}

/// Imitates what is read of a spot market: synths, their skew scale, and the quote of an atomic sale with a fixed fee. It
/// does not imitate skew and utilisation fees, wrappers, or any trade.
contract SpotMarket {
    struct Fees {
        uint256 fixedFees;
        uint256 utilizationFees;
        int256 skewFees;
        int256 wrapperFees;
    }

    mapping(uint128 => address) public getSynth;
    mapping(uint128 => uint256) public getMarketSkewScale;
    mapping(uint128 => IFeed) public feeds;
    uint256 public immutable fee;

    constructor(uint256 fee_) {
        fee = fee_;
    }

    function set(uint128 id, address synth, IFeed feed, uint256 skewScale) external {
        (getSynth[id], feeds[id], getMarketSkewScale[id]) = (synth, feed, skewScale);
    }

    function quoteSellExactIn(uint128 id, uint256 amount, uint8) external view returns (uint256 usd, Fees memory fees) {
        (, int256 answer,,,) = feeds[id].latestRoundData();
        if (answer <= 0) revert OracleDataRequired(address(feeds[id]), "");
        usd = amount * (uint256(answer) * 1e10) / 1e18;
        fees.fixedFees = usd * fee / 1e18;
        usd -= fees.fixedFees;
    }
}

/// Imitates the views of a Synthetix v3 perps market, in its units, signs and cuts towards zero: margins by
/// PerpsMarketConfiguration.calculateRequiredMargins, discounts by PerpsCollateralConfiguration.valueInUsd, available
/// margin and eligibility by PerpsAccount.
///
/// Simplified: the funding rate is the skew over its scale times a constant, not integrated over its velocity; interest
/// accrues on the notional at entry; the keepers' reward is the larger of the flag reward and a constant. Orders, fees,
/// liquidation and permissions are left out: positions are set as they are after settlement.
contract PerpsMarket {
    struct Config {
        string symbol;
        IFeed feed;
        uint256 skewScale;
        uint256 initialRatio;
        uint256 leastInitialRatio;
        uint256 maintenanceScalar;
        uint256 flagReward;
        uint256 positionMargin;
        uint256 rateAtFullSkew;
    }

    struct State {
        int256 skew;
        uint256 size;
        int256 fundingPerUnit;
        uint256 updatedAt;
    }

    struct Position {
        int128 size;
        uint256 price;
        int256 fundingPerUnit;
        uint256 openedAt;
    }

    struct MarketSummary {
        int256 skew;
        uint256 size;
        uint256 maxOpenInterest;
        int256 currentFundingRate;
        int256 currentFundingVelocity;
        uint256 indexPrice;
    }

    struct Discount {
        uint256 maxAmount;
        uint256 upperLimit;
        uint256 lowerLimit;
        uint256 scalar;
    }

    address public immutable getAccountTokenAddress;
    SpotMarket public immutable spot;
    uint256 public immutable leastReward;
    uint256 public immutable interestRate;
    uint256[] private _markets;
    mapping(uint128 => Config) public configs;
    mapping(uint128 => State) public states;
    mapping(uint128 => Discount) private _discounts;
    mapping(uint128 => mapping(uint128 => Position)) public positions; // account, market
    mapping(uint128 => uint256[]) private _open;
    mapping(uint128 => uint256[]) private _collaterals;
    mapping(uint128 => mapping(uint128 => uint256)) public getCollateralAmount;
    mapping(uint128 => uint256) public debt;

    constructor(address accounts, SpotMarket spot_, uint256 leastReward_, uint256 interestRate_) {
        (getAccountTokenAddress, spot, leastReward, interestRate) = (accounts, spot_, leastReward_, interestRate_);
    }

    // --- what orders, deposits and settings leave behind ---------------------------------------------------------

    function create(uint128 id, Config calldata config) external {
        _markets.push(id);
        configs[id] = config;
        states[id].updatedAt = block.timestamp;
    }

    function setDiscount(uint128 id, uint256 upperLimit, uint256 lowerLimit, uint256 scalar) external {
        _discounts[id] = Discount(type(uint128).max, upperLimit, lowerLimit, scalar);
    }

    function deposit(uint128 account, uint128 collateral, uint256 amount) external {
        if (getCollateralAmount[account][collateral] == 0) _collaterals[account].push(collateral);
        getCollateralAmount[account][collateral] += amount;
    }

    function owe(uint128 account, uint256 amount) external {
        debt[account] += amount;
    }

    /// Write the funding that has come to be due, as every settlement does.
    function touch(uint128 market) public {
        State storage state = states[market];
        state.fundingPerUnit = _nextFunding(market, indexPrice(market));
        state.updatedAt = block.timestamp;
    }

    function open(uint128 account, uint128 market, int128 size) external {
        touch(market);
        State storage state = states[market];
        uint256 price = indexPrice(market);
        state.skew += size;
        state.size += _abs(size);
        positions[account][market] = Position(size, price, state.fundingPerUnit, block.timestamp);
        _open[account].push(market);
    }

    // --- markets -------------------------------------------------------------------------------------------------

    function getMarkets() external view returns (uint256[] memory) {
        return _markets;
    }

    function metadata(uint128 market) external view returns (string memory, string memory) {
        return (string.concat(configs[market].symbol, " Perps Market"), configs[market].symbol);
    }

    function indexPrice(uint128 market) public view returns (uint256) {
        (, int256 answer,,,) = configs[market].feed.latestRoundData();
        if (answer <= 0) revert OracleDataRequired(address(configs[market].feed), "");
        return uint256(answer) * 1e10;
    }

    function currentFundingRate(uint128 market) public view returns (int256) {
        Config storage config = configs[market];
        return states[market].skew * int256(config.rateAtFullSkew) / int256(config.skewScale);
    }

    /// Funding per unit falls, for longs to pay, where the rate (a day's) is positive.
    function _nextFunding(uint128 market, uint256 price) private view returns (int256) {
        int256 since = int256(block.timestamp - states[market].updatedAt);
        int256 grown = currentFundingRate(market) * int256(price) / 1e18 * since / 1 days;
        return states[market].fundingPerUnit - grown;
    }

    function getMarketSummary(uint128 market) external view returns (MarketSummary memory) {
        State storage state = states[market];
        return MarketSummary(state.skew, state.size, 0, currentFundingRate(market), 0, indexPrice(market));
    }

    function getFundingParameters(uint128 market) external view returns (uint256, uint256) {
        return (configs[market].skewScale, 0);
    }

    function getLiquidationParameters(uint128 market)
        external
        view
        returns (uint256, uint256, uint256, uint256, uint256)
    {
        Config storage config = configs[market];
        return (
            config.initialRatio,
            config.leastInitialRatio,
            config.maintenanceScalar,
            config.flagReward,
            config.positionMargin
        );
    }

    function getCollateralConfigurationFull(uint128 id) external view returns (uint256, uint256, uint256, uint256) {
        Discount storage discount = _discounts[id];
        return (discount.maxAmount, discount.upperLimit, discount.lowerLimit, discount.scalar);
    }

    // --- accounts ------------------------------------------------------------------------------------------------

    function getAccountOpenPositions(uint128 account) external view returns (uint256[] memory) {
        return _open[account];
    }

    function getAccountCollateralIds(uint128 account) external view returns (uint256[] memory) {
        return _collaterals[account];
    }

    function getOpenPosition(uint128 account, uint128 market)
        public
        view
        returns (int256 profit, int256 funding, int128 size, uint256 interest)
    {
        Position storage position = positions[account][market];
        uint256 price = indexPrice(market);
        size = position.size;
        funding = int256(size) * (_nextFunding(market, price) - position.fundingPerUnit) / 1e18;
        uint256 cost = _abs(size) * position.price / 1e18;
        interest = cost * interestRate / 1e18 * (block.timestamp - position.openedAt) / 365 days;
        profit = int256(size) * (int256(price) - int256(position.price)) / 1e18 + funding - int256(interest);
    }

    function getAvailableMargin(uint128 account) public view returns (int256 available) {
        for (uint256 i; i < _collaterals[account].length; ++i) {
            uint128 id = uint128(_collaterals[account][i]);
            uint256 amount = getCollateralAmount[account][id];
            available += int256(id == 0 ? amount : _valueInUsd(id, amount));
        }
        for (uint256 i; i < _open[account].length; ++i) {
            (int256 profit,,,) = getOpenPosition(account, uint128(_open[account][i]));
            available += profit;
        }
        available -= int256(debt[account]);
    }

    function _valueInUsd(uint128 id, uint256 amount) private view returns (uint256) {
        uint256 scale = spot.getMarketSkewScale(id);
        uint256 discount;
        if (scale != 0) {
            discount = amount * 1e18 / scale * _discounts[id].scalar / 1e18;
            if (discount > _discounts[id].lowerLimit) discount = _discounts[id].lowerLimit;
            if (discount < _discounts[id].upperLimit) discount = _discounts[id].upperLimit;
        }
        (uint256 usd,) = spot.quoteSellExactIn(id, amount, 0);
        return usd * (1e18 - discount) / 1e18;
    }

    function getRequiredMargins(uint128 account)
        public
        view
        returns (uint256 initial, uint256 maintenance, uint256 reward)
    {
        if (_open[account].length == 0) return (0, 0, 0);
        for (uint256 i; i < _open[account].length; ++i) {
            uint128 market = uint128(_open[account][i]);
            Config storage config = configs[market];
            uint256 size = _abs(positions[account][market].size);
            uint256 ratio = size * 1e18 / config.skewScale * config.initialRatio / 1e18 + config.leastInitialRatio;
            uint256 notional = size * indexPrice(market) / 1e18;
            initial += notional * ratio / 1e18 + config.positionMargin;
            maintenance += notional * (ratio * config.maintenanceScalar / 1e18) / 1e18 + config.positionMargin;
            reward += notional * config.flagReward / 1e18;
        }
        if (reward < leastReward) reward = leastReward;
        (initial, maintenance) = (initial + reward, maintenance + reward);
    }

    function canLiquidate(uint128 account) external view returns (bool) {
        (, uint256 maintenance,) = getRequiredMargins(account);
        return _open[account].length != 0 && int256(maintenance) > getAvailableMargin(account);
    }

    function _abs(int128 size) private pure returns (uint256) {
        return uint256(int256(size < 0 ? -size : size));
    }
}
