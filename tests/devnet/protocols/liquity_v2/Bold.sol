// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IAnswer {
    function latestAnswer() external view returns (int256);
    function getRatio() external view returns (int256);
}

/// Imitates the price feed of a branch of Liquity v2 (MainnetPriceFeedBase): fetchPrice, priceSource, ethUsdOracle. The
/// market price of a staked token is taken to be its rate, where the original has a market oracle; anyone sets the source.
contract BoldPriceFeed {
    struct Oracle {
        address aggregator;
        uint256 stalenessThreshold;
        uint8 decimals;
    }

    Oracle public ethUsdOracle;
    address private immutable rate;
    uint8 public priceSource;
    uint256 public lastGoodPrice;

    constructor(address ethUsd, address rate_) {
        ethUsdOracle = Oracle(ethUsd, 86400, 8);
        rate = rate_;
        fetchPrice();
    }

    function setSource(uint8 source) external {
        priceSource = source;
    }

    function fetchPrice() public returns (uint256, bool) {
        if (priceSource != 2) {
            uint256 price = uint256(IAnswer(ethUsdOracle.aggregator).latestAnswer()) * 1e10;
            lastGoodPrice = rate == address(0) ? price : price * uint256(IAnswer(rate).getRatio()) / 1e18;
        }
        return (lastGoodPrice, false);
    }
}

/// Imitates a branch's AddressesRegistry: addresses and parameters, public and fixed.
contract BoldRegistry {
    address public collToken;
    address public boldToken;
    address public WETH;
    address public priceFeed;
    address public troveManager;
    address public troveNFT;
    address public activePool;
    address public stabilityPool;
    uint256 public immutable MCR;
    uint256 public immutable LIQUIDATION_PENALTY_SP;
    uint256 public immutable LIQUIDATION_PENALTY_REDISTRIBUTION;

    constructor(uint256 mcr, uint256 poolPenalty, uint256 penalty, address[4] memory given) {
        (MCR, LIQUIDATION_PENALTY_SP, LIQUIDATION_PENALTY_REDISTRIBUTION) = (mcr, poolPenalty, penalty);
        (collToken, boldToken, WETH, priceFeed) = (given[0], given[1], given[2], given[3]);
    }

    function setAddresses(address manager) external {
        (troveManager, troveNFT, activePool, stabilityPool) = (manager, manager, manager, manager);
    }
}

/// Imitates Liquity v2's TroveManager, and of its TroveNFT, ActivePool and StabilityPool what a reader asks: troves with
/// simple interest, batches with shares of debt and a management fee, redistribution, shutdown, zombies, totals. It does
/// not imitate coins (nothing is transferred), upfront fees, the limits of opening, sorting, or the pools' own running
/// totals: branch totals here are the sums over all troves. Anyone does anything for anybody.
contract BoldTroves {
    enum Status {
        nonExistent,
        active,
        closedByOwner,
        closedByLiquidation,
        zombie
    }

    struct Trove {
        uint256 debt;
        uint256 coll;
        uint256 stake;
        Status status;
        uint64 arrayIndex;
        uint64 lastDebtUpdateTime;
        uint64 lastInterestRateAdjTime;
        uint256 annualInterestRate;
        address interestBatchManager;
        uint256 batchDebtShares;
    }

    struct Batch {
        uint256 debt;
        uint64 lastDebtUpdateTime;
        uint256 annualInterestRate;
        uint256 annualManagementFee;
        uint256 totalDebtShares;
    }

    struct LatestTroveData {
        uint256 entireDebt;
        uint256 entireColl;
        uint256 redistBoldDebtGain;
        uint256 redistCollGain;
        uint256 accruedInterest;
        uint256 recordedDebt;
        uint256 annualInterestRate;
        uint256 weightedRecordedDebt;
        uint256 accruedBatchManagementFee;
        uint256 lastInterestRateAdjTime;
    }

    BoldRegistry private immutable registry;
    mapping(uint256 => Trove) public Troves;
    mapping(uint256 => address) public ownerOf;
    mapping(address => Batch) private batches;
    uint256 public shutdownTime;
    uint256 public getTotalBoldDeposits;
    uint256[] private ids;
    mapping(uint256 => uint256[2]) private snapshots;
    uint256 private sumColl;
    uint256 private sumDebt;
    uint256 private totalStakes;
    uint256 private stakesSnapshot;
    uint256 private collateralSnapshot;

    constructor(BoldRegistry registry_) {
        registry = registry_;
    }

    function openTrove(uint256 id, address owner, uint256 coll, uint256 debt, uint256 rate) external {
        record(id, owner, coll);
        (Troves[id].debt, Troves[id].annualInterestRate) = (debt, rate);
    }

    function setBatch(address manager, uint256 rate, uint256 fee) external {
        accrue(manager);
        (batches[manager].annualInterestRate, batches[manager].annualManagementFee) = (rate, fee);
    }

    function openTroveAndJoinBatch(uint256 id, address owner, uint256 coll, uint256 debt, address manager) external {
        accrue(manager);
        record(id, owner, coll);
        Batch storage batch = batches[manager];
        uint256 shares = batch.totalDebtShares == 0 ? debt : batch.totalDebtShares * debt / batch.debt;
        batch.debt += debt;
        batch.totalDebtShares += shares;
        (Troves[id].interestBatchManager, Troves[id].batchDebtShares) = (manager, shares);
    }

    function transfer(uint256 id, address owner) external {
        ownerOf[id] = owner;
    }

    function provideToSP(uint256 amount) external {
        getTotalBoldDeposits += amount;
    }

    function shutdown() external {
        shutdownTime = block.timestamp;
    }

    /// Of a trove without a batch: pays back to `debt`, with collateral at the price.
    function redeemTo(uint256 id, uint256 debt) external {
        LatestTroveData memory latest = getLatestTroveData(id);
        (uint256 price,) = BoldPriceFeed(registry.priceFeed()).fetchPrice();
        Trove storage trove = Troves[id];
        trove.coll = latest.entireColl - (latest.entireDebt - debt) * 1e18 / price;
        trove.debt = debt;
        trove.lastDebtUpdateTime = uint64(block.timestamp);
        trove.status = debt < 2000e18 ? Status.zombie : trove.status;
        uint256 stake = stakeOf(trove.coll);
        totalStakes = totalStakes - trove.stake + stake;
        trove.stake = stake;
        snapshots[id] = [sumColl, sumDebt];
    }

    /// Of a trove without a batch.
    function liquidate(uint256 id) external {
        (uint256 price,) = BoldPriceFeed(registry.priceFeed()).fetchPrice();
        require(getCurrentICR(id, price) < registry.MCR(), "healthy");
        LatestTroveData memory latest = getLatestTroveData(id);
        uint256 spent = getTotalBoldDeposits > 1e18 ? getTotalBoldDeposits - 1e18 : 0;
        if (latest.entireDebt < spent) spent = latest.entireDebt;
        close(id);
        getTotalBoldDeposits -= spent;
        uint256 portion = latest.entireColl * spent / latest.entireDebt;
        uint256 forGas = gas(portion); // of the pool's part: what is redistributed pays none
        uint256 toPool = capped(portion - forGas, spent, registry.LIQUIDATION_PENALTY_SP(), price);
        uint256 moved = latest.entireDebt - spent;
        uint256 rest = latest.entireColl - forGas - toPool;
        uint256 passedOn = moved == 0 ? 0 : capped(rest, moved, registry.LIQUIDATION_PENALTY_REDISTRIBUTION(), price);
        sumColl += passedOn * 1e18 / totalStakes;
        sumDebt += moved * 1e18 / totalStakes;
        (stakesSnapshot, collateralSnapshot) = (totalStakes, getEntireBranchColl());
    }

    function gas(uint256 coll) private pure returns (uint256) {
        return coll / 200 < 2 ether ? coll / 200 : 2 ether;
    }

    function capped(uint256 coll, uint256 debt, uint256 penalty, uint256 price) private pure returns (uint256) {
        uint256 most = debt * (1e18 + penalty) / price;
        return coll < most ? coll : most;
    }

    function record(uint256 id, address owner, uint256 coll) private {
        require(Troves[id].status == Status.nonExistent, "open");
        Trove storage trove = Troves[id];
        uint256 stake = stakeOf(coll);
        (trove.coll, trove.stake, trove.status) = (coll, stake, Status.active);
        (trove.arrayIndex, trove.lastDebtUpdateTime) = (uint64(ids.length), uint64(block.timestamp));
        trove.lastInterestRateAdjTime = uint64(block.timestamp);
        totalStakes += stake;
        snapshots[id] = [sumColl, sumDebt];
        ownerOf[id] = owner;
        ids.push(id);
    }

    function stakeOf(uint256 coll) private view returns (uint256) {
        return stakesSnapshot == 0 ? coll : coll * stakesSnapshot / collateralSnapshot;
    }

    function close(uint256 id) private {
        require(ids.length > 1, "only one trove left");
        uint64 index = Troves[id].arrayIndex;
        totalStakes -= Troves[id].stake;
        uint256 last = ids[ids.length - 1];
        ids[index] = last;
        Troves[last].arrayIndex = index;
        ids.pop();
        delete Troves[id];
        Troves[id].status = Status.closedByLiquidation;
        delete ownerOf[id];
    }

    function accrue(address manager) private {
        Batch storage batch = batches[manager];
        uint256 time = period(batch.lastDebtUpdateTime);
        batch.debt += interest(batch.debt * batch.annualInterestRate, time)
            + interest(batch.debt * batch.annualManagementFee, time);
        batch.lastDebtUpdateTime = uint64(block.timestamp);
    }

    function interest(uint256 weighted, uint256 time) private pure returns (uint256) {
        return weighted * time / 365 days / 1e18;
    }

    function period(uint256 since) private view returns (uint256) {
        uint256 end = shutdownTime == 0 ? block.timestamp : shutdownTime;
        return end > since ? end - since : 0;
    }

    function getTroveIdsCount() external view returns (uint256) {
        return ids.length;
    }

    function getTroveFromTroveIdsArray(uint256 index) external view returns (uint256) {
        return ids[index];
    }

    function getLatestTroveData(uint256 id) public view returns (LatestTroveData memory latest) {
        Trove memory trove = Troves[id];
        latest.redistBoldDebtGain = trove.stake * (sumDebt - snapshots[id][1]) / 1e18;
        latest.redistCollGain = trove.stake * (sumColl - snapshots[id][0]) / 1e18;
        latest.recordedDebt = trove.debt;
        latest.annualInterestRate = trove.annualInterestRate;
        latest.accruedInterest = interest(trove.debt * trove.annualInterestRate, period(trove.lastDebtUpdateTime));
        if (trove.interestBatchManager != address(0)) {
            Batch memory batch = batches[trove.interestBatchManager];
            (uint256 part, uint256 all) = (trove.batchDebtShares, batch.totalDebtShares);
            uint256 time = period(batch.lastDebtUpdateTime);
            latest.recordedDebt = batch.debt * part / all;
            latest.annualInterestRate = batch.annualInterestRate;
            latest.accruedInterest = interest(batch.debt * batch.annualInterestRate, time) * part / all;
            latest.accruedBatchManagementFee = interest(batch.debt * batch.annualManagementFee, time) * part / all;
        }
        latest.weightedRecordedDebt = latest.recordedDebt * latest.annualInterestRate;
        latest.entireDebt = latest.recordedDebt + latest.redistBoldDebtGain + latest.accruedInterest
            + latest.accruedBatchManagementFee;
        latest.entireColl = trove.coll + latest.redistCollGain;
        latest.lastInterestRateAdjTime = trove.lastInterestRateAdjTime;
    }

    function getCurrentICR(uint256 id, uint256 price) public view returns (uint256) {
        LatestTroveData memory latest = getLatestTroveData(id);
        return latest.entireDebt == 0 ? type(uint256).max : latest.entireColl * price / latest.entireDebt;
    }

    function getEntireBranchColl() public view returns (uint256 total) {
        for (uint256 i; i < ids.length; ++i) total += getLatestTroveData(ids[i]).entireColl;
    }

    function getEntireBranchDebt() external view returns (uint256 total) {
        for (uint256 i; i < ids.length; ++i) total += getLatestTroveData(ids[i]).entireDebt;
    }

    function aggWeightedDebtSum() external view returns (uint256 total) {
        for (uint256 i; i < ids.length; ++i) total += getLatestTroveData(ids[i]).weightedRecordedDebt;
    }
}
