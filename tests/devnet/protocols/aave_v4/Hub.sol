// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IHubToken {
    function transfer(address to, uint256 amount) external returns (bool);

    function transferFrom(address from, address to, uint256 amount) external returns (bool);

    function decimals() external view returns (uint8);
}

interface IRateStrategy {
    function calculateInterestRate(uint256 assetId, uint256 liquidity, uint256 drawn, uint256 deficit, uint256 swept)
        external
        view
        returns (uint256);
}

/// Imitates what readers ask of a Hub of Aave v4: added shares against assets with virtual amounts of 1e6, a drawn index
/// that grows linearly between updates, premium debt, fees on interest, caps and deficits by spoke, liquidity that is
/// swept away, and the rate of a strategy, where the asset has one, after each action; without one the rate stays. It
/// does not imitate the fee receiver's shares or who may do what; premiums are those that the spoke names.
contract Hub {
    uint256 internal constant RAY = 1e27;
    uint256 private constant VIRTUAL = 1e6;

    struct Asset {
        uint120 liquidity;
        uint120 realizedFees;
        uint8 decimals;
        uint120 addedShares;
        uint120 swept;
        int200 premiumOffsetRay;
        uint120 drawnShares;
        uint120 premiumShares;
        uint16 liquidityFee;
        uint120 drawnIndex;
        uint96 drawnRate;
        uint40 lastUpdateTimestamp;
        address underlying;
        address irStrategy;
        address reinvestmentController;
        address feeReceiver;
        uint200 deficitRay;
    }

    struct SpokeData {
        uint120 drawnShares;
        uint120 premiumShares;
        int200 premiumOffsetRay;
        uint120 addedShares;
        uint40 addCap;
        uint40 drawCap;
        uint24 riskPremiumThreshold;
        bool active;
        bool halted;
        uint200 deficitRay;
    }

    Asset[] private assets;
    mapping(uint256 => mapping(address => SpokeData)) private spokes;

    function addAsset(address underlying, uint96 yearlyRateRay, uint16 liquidityFee) external returns (uint256) {
        Asset storage a = assets.push();
        (a.underlying, a.decimals, a.liquidityFee) = (underlying, IHubToken(underlying).decimals(), liquidityFee);
        (a.drawnIndex, a.drawnRate, a.lastUpdateTimestamp) = (uint120(RAY), yearlyRateRay, uint40(block.timestamp));
        return assets.length - 1;
    }

    function setStrategy(uint256 assetId, address strategy) external {
        accrue(assetId);
        assets[assetId].irStrategy = strategy;
        updateDrawnRate(assetId);
    }

    function setCaps(uint256 assetId, address spoke, uint40 addCap, uint40 drawCap) external {
        SpokeData storage s = spokes[assetId][spoke];
        (s.addCap, s.drawCap, s.active) = (addCap, drawCap, true);
    }

    /// Only told: nothing here stops for it.
    function setActive(uint256 assetId, address spoke, bool active, bool halted) external {
        (spokes[assetId][spoke].active, spokes[assetId][spoke].halted) = (active, halted);
    }

    // Views

    function getAsset(uint256 assetId) external view returns (Asset memory) {
        return assets[assetId];
    }

    function getSpoke(uint256 assetId, address spoke) external view returns (SpokeData memory) {
        return spokes[assetId][spoke];
    }

    function getAssetDrawnIndex(uint256 assetId) public view returns (uint256) {
        Asset storage a = assets[assetId];
        uint256 passed = block.timestamp - a.lastUpdateTimestamp;
        if (passed == 0 || (a.drawnShares == 0 && a.premiumShares == 0)) return a.drawnIndex;
        return up(a.drawnIndex * (RAY + uint256(a.drawnRate) * passed / 365 days));
    }

    function getAssetDrawnRate(uint256 assetId) external view returns (uint256) {
        return assets[assetId].drawnRate;
    }

    function getAssetLiquidity(uint256 assetId) external view returns (uint256) {
        return assets[assetId].liquidity;
    }

    function getAddedAssets(uint256 assetId) public view returns (uint256) {
        Asset storage a = assets[assetId];
        uint256 due = owed(assetId, getAssetDrawnIndex(assetId));
        uint256 unrealized = (due - owed(assetId, a.drawnIndex)) * a.liquidityFee / 1e4;
        return a.liquidity + a.swept + due - a.realizedFees - unrealized;
    }

    function previewRemoveByShares(uint256 assetId, uint256 shares) public view returns (uint256) {
        return shares * (getAddedAssets(assetId) + VIRTUAL) / (assets[assetId].addedShares + VIRTUAL);
    }

    function previewAddByAssets(uint256 assetId, uint256 amount) public view returns (uint256) {
        return amount * (assets[assetId].addedShares + VIRTUAL) / (getAddedAssets(assetId) + VIRTUAL);
    }

    function getSpokeAddedAssets(uint256 assetId, address spoke) external view returns (uint256) {
        return previewRemoveByShares(assetId, spokes[assetId][spoke].addedShares);
    }

    function getSpokeTotalOwed(uint256 assetId, address spoke) external view returns (uint256) {
        SpokeData storage s = spokes[assetId][spoke];
        uint256 index = getAssetDrawnIndex(assetId);
        return up(s.drawnShares * index) + up(premium(s.premiumShares, s.premiumOffsetRay, index));
    }

    // Actions of spokes

    function accrue(uint256 assetId) public {
        Asset storage a = assets[assetId];
        uint256 index = getAssetDrawnIndex(assetId);
        a.realizedFees += uint120((owed(assetId, index) - owed(assetId, a.drawnIndex)) * a.liquidityFee / 1e4);
        (a.drawnIndex, a.lastUpdateTimestamp) = (uint120(index), uint40(block.timestamp));
    }

    function add(uint256 assetId, uint256 amount, address from) external returns (uint256 shares) {
        accrue(assetId);
        Asset storage a = assets[assetId];
        shares = previewAddByAssets(assetId, amount);
        IHubToken(a.underlying).transferFrom(from, address(this), amount);
        a.liquidity += uint120(amount);
        a.addedShares += uint120(shares);
        spokes[assetId][msg.sender].addedShares += uint120(shares);
        updateDrawnRate(assetId);
    }

    function sweep(uint256 assetId, uint256 amount) external {
        accrue(assetId);
        IHubToken(assets[assetId].underlying).transfer(msg.sender, amount);
        assets[assetId].liquidity -= uint120(amount);
        assets[assetId].swept += uint120(amount);
        updateDrawnRate(assetId);
    }

    function remove(uint256 assetId, uint256 shares, uint256 toLiquidator, address to) external {
        accrue(assetId);
        Asset storage a = assets[assetId];
        uint256 amount = previewRemoveByShares(assetId, toLiquidator);
        if (amount > 0) IHubToken(a.underlying).transfer(to, amount);
        a.liquidity -= uint120(amount);
        a.addedShares -= uint120(toLiquidator); // the rest are the fee receiver's
        spokes[assetId][msg.sender].addedShares -= uint120(shares);
        updateDrawnRate(assetId);
    }

    function draw(uint256 assetId, uint256 amount, address to) external returns (uint256 shares) {
        accrue(assetId);
        Asset storage a = assets[assetId];
        shares = (amount * RAY + a.drawnIndex - 1) / a.drawnIndex;
        IHubToken(a.underlying).transfer(to, amount);
        a.liquidity -= uint120(amount);
        a.drawnShares += uint120(shares);
        spokes[assetId][msg.sender].drawnShares += uint120(shares);
        updateDrawnRate(assetId);
    }

    /// The premium of a position changes from what it was to what it is; `restoredRay` of it is paid.
    function restore(
        uint256 assetId,
        uint256 amount,
        uint256 shares,
        int256 premiumShares,
        int256 offsetRay,
        address from
    ) external {
        accrue(assetId);
        Asset storage a = assets[assetId];
        SpokeData storage s = spokes[assetId][msg.sender];
        IHubToken(a.underlying).transferFrom(from, address(this), amount);
        a.liquidity += uint120(amount);
        a.drawnShares -= uint120(shares);
        s.drawnShares -= uint120(shares);
        a.premiumShares = uint120(uint256(int256(uint256(a.premiumShares)) + premiumShares));
        s.premiumShares = uint120(uint256(int256(uint256(s.premiumShares)) + premiumShares));
        a.premiumOffsetRay += int200(offsetRay);
        s.premiumOffsetRay += int200(offsetRay);
        updateDrawnRate(assetId);
    }

    function reportDeficit(uint256 assetId, uint256 shares, uint256 ray) external {
        accrue(assetId);
        assets[assetId].drawnShares -= uint120(shares);
        spokes[assetId][msg.sender].drawnShares -= uint120(shares);
        assets[assetId].deficitRay += uint200(ray);
        spokes[assetId][msg.sender].deficitRay += uint200(ray);
        updateDrawnRate(assetId);
    }

    function updateDrawnRate(uint256 assetId) private {
        Asset storage a = assets[assetId];
        if (a.irStrategy == address(0)) return;
        uint256 drawn = up(a.drawnShares * uint256(a.drawnIndex));
        a.drawnRate = uint96(
            IRateStrategy(a.irStrategy).calculateInterestRate(assetId, a.liquidity, drawn, up(a.deficitRay), a.swept)
        );
    }

    /// What borrowers owe and what deficits have taken, rounded up as one sum.
    function owed(uint256 assetId, uint256 index) private view returns (uint256) {
        Asset storage a = assets[assetId];
        return up(a.drawnShares * index + premium(a.premiumShares, a.premiumOffsetRay, index) + a.deficitRay);
    }

    function premium(uint256 shares, int256 offset, uint256 index) internal pure returns (uint256) {
        return uint256(int256(shares * index) - offset);
    }

    function up(uint256 ray) internal pure returns (uint256) {
        return (ray + RAY - 1) / RAY;
    }
}
