// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IAnswer {
    function latestAnswer() external view returns (int256);
}

/// Imitates Liquity v1's PriceFeed: fetchPrice writes what it answers, status, priceAggregator. It does not imitate
/// Tellor, or the rules by which one oracle takes over from the other: anyone sets the status.
contract LiquityPriceFeed {
    address public immutable priceAggregator;
    uint8 public status;
    uint256 public lastGoodPrice;

    constructor(address aggregator) {
        priceAggregator = aggregator;
        fetchPrice();
    }

    function setStatus(uint8 status_) external {
        status = status_;
    }

    function fetchPrice() public returns (uint256) {
        if (status != 2) lastGoodPrice = uint256(IAnswer(priceAggregator).latestAnswer()) * 1e10;
        return lastGoodPrice;
    }
}

/// Imitates the StabilityPool's total, and the size of SortedTroves' list.
contract LiquityPools {
    uint256 public getTotalLUSDDeposits;
    uint256 public getSize;

    function change(int256 deposits, int256 troves) external {
        getTotalLUSDDeposits = uint256(int256(getTotalLUSDDeposits) + deposits);
        getSize = uint256(int256(getSize) + troves);
    }
}

/// Imitates Liquity v1's TroveManager as a reader sees it: troves with stakes and snapshots, the sums of redistribution
/// with their error feedback, liquidation in normal mode, the list of owners, totals. It does not imitate coins (nothing
/// is transferred), the limits of opening, fees, redemptions, recovery mode's liquidations and sorting; anyone opens a
/// trove for anybody.
contract LiquityTroves {
    uint256 public constant MCR = 1.1e18;
    uint256 public constant CCR = 1.5e18;
    uint256 public constant PERCENT_DIVISOR = 200;

    struct Trove {
        uint256 debt;
        uint256 coll;
        uint256 stake;
        uint8 status;
        uint128 arrayIndex;
    }

    struct Snapshot {
        uint256 ETH;
        uint256 LUSDDebt;
    }

    LiquityPriceFeed public immutable priceFeed;
    LiquityPools public immutable stabilityPool;
    LiquityPools public immutable sortedTroves;
    address public immutable lusdToken;

    mapping(address => Trove) public Troves;
    mapping(address => Snapshot) public rewardSnapshots;
    uint256 public L_ETH;
    uint256 public L_LUSDDebt;
    uint256 public getEntireSystemColl;
    uint256 public getEntireSystemDebt;
    address[] private owners;
    uint256 private totalStakes;
    uint256 private stakesSnapshot;
    uint256 private collateralSnapshot;
    uint256 private errorColl;
    uint256 private errorDebt;

    constructor(LiquityPriceFeed feed, LiquityPools pools, address lusd) {
        priceFeed = feed;
        stabilityPool = pools;
        sortedTroves = pools;
        lusdToken = lusd;
    }

    function openTrove(address owner, uint256 coll, uint256 debt) external {
        require(Troves[owner].status != 1, "open");
        uint256 stake = stakesSnapshot == 0 ? coll : coll * stakesSnapshot / collateralSnapshot;
        Troves[owner] = Trove(debt, coll, stake, 1, uint128(owners.length));
        rewardSnapshots[owner] = Snapshot(L_ETH, L_LUSDDebt);
        totalStakes += stake;
        owners.push(owner);
        getEntireSystemColl += coll;
        getEntireSystemDebt += debt;
        stabilityPool.change(0, 1);
    }

    function applyPendingRewards(address owner) external {
        (uint256 debt, uint256 coll,,) = getEntireDebtAndColl(owner);
        Trove storage trove = Troves[owner];
        (trove.debt, trove.coll) = (debt, coll);
        rewardSnapshots[owner] = Snapshot(L_ETH, L_LUSDDebt);
    }

    function liquidate(address owner) external {
        require(getCurrentICR(owner, priceFeed.fetchPrice()) < MCR, "healthy");
        (uint256 debt, uint256 coll,,) = getEntireDebtAndColl(owner);
        getEntireSystemColl -= coll;
        getEntireSystemDebt -= debt;
        close(owner);
        coll -= coll / PERCENT_DIVISOR;
        uint256 pool = stabilityPool.getTotalLUSDDeposits();
        uint256 offset = debt < pool ? debt : pool;
        uint256 passedOn = coll - coll * offset / debt;
        stabilityPool.change(-int256(offset), -1);
        if (debt > offset) redistribute(debt - offset, passedOn);
        (stakesSnapshot, collateralSnapshot) = (totalStakes, getEntireSystemColl);
    }

    function redistribute(uint256 debt, uint256 coll) private {
        uint256 collNumerator = coll * 1e18 + errorColl;
        uint256 debtNumerator = debt * 1e18 + errorDebt;
        (uint256 byStake, uint256 debtByStake) = (collNumerator / totalStakes, debtNumerator / totalStakes);
        errorColl = collNumerator - byStake * totalStakes;
        errorDebt = debtNumerator - debtByStake * totalStakes;
        L_ETH += byStake;
        L_LUSDDebt += debtByStake;
        getEntireSystemColl += coll;
        getEntireSystemDebt += debt;
    }

    function close(address owner) private {
        require(owners.length > 1, "only one trove");
        Trove storage trove = Troves[owner];
        totalStakes -= trove.stake;
        address last = owners[owners.length - 1];
        owners[trove.arrayIndex] = last;
        Troves[last].arrayIndex = trove.arrayIndex;
        owners.pop();
        Troves[owner] = Trove(0, 0, 0, 2, 0);
    }

    function getTroveOwnersCount() external view returns (uint256) {
        return owners.length;
    }

    function getTroveFromTroveOwnersArray(uint256 index) external view returns (address) {
        return owners[index];
    }

    function getEntireDebtAndColl(address owner) public view returns (uint256, uint256, uint256, uint256) {
        Trove memory trove = Troves[owner];
        Snapshot memory then = rewardSnapshots[owner];
        if (trove.status != 1) return (trove.debt, trove.coll, 0, 0);
        uint256 debtReward = trove.stake * (L_LUSDDebt - then.LUSDDebt) / 1e18;
        uint256 reward = trove.stake * (L_ETH - then.ETH) / 1e18;
        return (trove.debt + debtReward, trove.coll + reward, debtReward, reward);
    }

    function getCurrentICR(address owner, uint256 price) public view returns (uint256) {
        (uint256 debt, uint256 coll,,) = getEntireDebtAndColl(owner);
        return debt == 0 ? type(uint256).max : coll * price / debt;
    }

    function getTCR(uint256 price) public view returns (uint256) {
        return getEntireSystemDebt == 0 ? type(uint256).max : getEntireSystemColl * price / getEntireSystemDebt;
    }

    function checkRecoveryMode(uint256 price) external view returns (bool) {
        return getTCR(price) < CCR;
    }
}
