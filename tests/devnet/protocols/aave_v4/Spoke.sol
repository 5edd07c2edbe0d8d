// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Hub} from "Hub.sol";

interface IAnswers {
    function latestAnswer() external view returns (int256);
}

/// Imitates the AaveOracle of a spoke: prices of 8 decimals and their sources. It does not imitate its checks, but that
/// it reverts where a source has no answer.
contract SpokeOracle {
    uint8 public constant decimals = 8;
    mapping(uint256 => address) public getReserveSource;

    function setReserveSource(uint256 reserveId, address source) external {
        getReserveSource[reserveId] = source;
    }

    function getReservePrice(uint256 reserveId) external view returns (uint256) {
        int256 answer = IAnswers(getReserveSource[reserveId]).latestAnswer();
        require(answer > 0, "InvalidPrice");
        return uint256(answer);
    }
}

/// Imitates a Spoke of Aave v4 as its readers see it, with its arithmetic: positions in shares, premium debt in ray,
/// dynamic configurations that a position keeps until it is refreshed, health in ray-precise debt, a bonus that grows as
/// health falls, liquidation up to a target health factor without leaving dust, and deficits reported to the hub. It
/// does not imitate risk premiums by collateral (a position pays the premium that `borrow` names), position managers,
/// gates, flags but `paused`, or who may do what: anyone acts for anyone.
contract Spoke {
    uint256 private constant RAY = 1e27;
    uint256 private constant BPS = 1e4;
    uint256 private constant DUST = 1000e26;

    struct Reserve {
        address underlying;
        address hub;
        uint16 assetId;
        uint8 decimals;
        uint24 collateralRisk;
        uint8 flags;
        uint32 dynamicConfigKey;
    }

    struct DynamicReserveConfig {
        uint16 collateralFactor;
        uint32 maxLiquidationBonus;
        uint16 liquidationFee;
    }

    struct LiquidationConfig {
        uint128 targetHealthFactor;
        uint64 healthFactorForMaxBonus;
        uint16 liquidationBonusFactor;
    }

    struct UserPosition {
        uint120 drawnShares;
        uint120 premiumShares;
        int200 premiumOffsetRay;
        uint120 suppliedShares;
        uint32 dynamicConfigKey;
    }

    struct UserAccountData {
        uint256 riskPremium;
        uint256 avgCollateralFactor;
        uint256 healthFactor;
        uint256 totalCollateralValue;
        uint256 totalDebtValueRay;
        uint256 activeCollateralCount;
        uint256 borrowCount;
    }

    struct PremiumDelta {
        int256 sharesDelta;
        int256 offsetRayDelta;
        uint256 restoredPremiumRay;
    }

    struct Amounts {
        uint256 collateralShares;
        uint256 toLiquidator;
        uint256 drawnShares;
        uint256 premiumRay;
    }

    address public immutable ORACLE;
    Reserve[] private reserves;
    LiquidationConfig private config;
    mapping(uint256 => mapping(uint32 => DynamicReserveConfig)) private dynamicConfigs;
    mapping(uint256 => mapping(address => UserPosition)) private positions;
    mapping(uint256 => mapping(address => bool)) private collateral;

    event Supply(
        uint256 indexed reserveId,
        address indexed caller,
        address indexed user,
        uint256 suppliedShares,
        uint256 suppliedAmount
    );
    event Borrow(
        uint256 indexed reserveId,
        address indexed caller,
        address indexed user,
        uint256 drawnShares,
        uint256 drawnAmount
    );
    event LiquidationCall(
        uint256 indexed collateralReserveId,
        uint256 indexed debtReserveId,
        address indexed user,
        address liquidator,
        bool receiveShares,
        uint256 debtAmountRestored,
        uint256 drawnSharesLiquidated,
        PremiumDelta premiumDelta,
        uint256 collateralAmountRemoved,
        uint256 collateralSharesLiquidated,
        uint256 collateralSharesToLiquidator
    );

    constructor(address oracle, LiquidationConfig memory config_) {
        (ORACLE, config) = (oracle, config_);
    }

    // Configuration

    function addReserve(address hub, uint16 assetId, DynamicReserveConfig calldata first) external returns (uint256 id) {
        id = reserves.length;
        Hub.Asset memory a = Hub(hub).getAsset(assetId);
        reserves.push(Reserve(a.underlying, hub, assetId, a.decimals, 0, 4, 0));
        dynamicConfigs[id][0] = first;
    }

    function addDynamicReserveConfig(uint256 reserveId, DynamicReserveConfig calldata next) external {
        dynamicConfigs[reserveId][++reserves[reserveId].dynamicConfigKey] = next;
    }

    /// 1 is paused; the others change nothing here.
    function setFlags(uint256 reserveId, uint8 flags) external {
        reserves[reserveId].flags = flags;
    }

    function getReserveCount() external view returns (uint256) {
        return reserves.length;
    }

    function getReserve(uint256 reserveId) external view returns (Reserve memory) {
        return reserves[reserveId];
    }

    function getDynamicReserveConfig(uint256 id, uint32 key) external view returns (DynamicReserveConfig memory) {
        return dynamicConfigs[id][key];
    }

    function getLiquidationConfig() external view returns (LiquidationConfig memory) {
        return config;
    }

    function getReserveSuppliedAssets(uint256 id) external view returns (uint256) {
        return Hub(reserves[id].hub).getSpokeAddedAssets(reserves[id].assetId, address(this));
    }

    function getReserveTotalDebt(uint256 id) external view returns (uint256) {
        return Hub(reserves[id].hub).getSpokeTotalOwed(reserves[id].assetId, address(this));
    }

    // Positions

    function getUserPosition(uint256 id, address user) external view returns (UserPosition memory) {
        return positions[id][user];
    }

    function getUserReserveStatus(uint256 id, address user) external view returns (bool, bool) {
        return (collateral[id][user], positions[id][user].drawnShares > 0);
    }

    function supply(uint256 id, uint256 amount, address user, bool asCollateral) external {
        uint256 shares = Hub(reserves[id].hub).add(reserves[id].assetId, amount, msg.sender);
        positions[id][user].suppliedShares += uint120(shares);
        if (asCollateral && !collateral[id][user]) {
            collateral[id][user] = true;
            positions[id][user].dynamicConfigKey = reserves[id].dynamicConfigKey;
        }
        emit Supply(id, msg.sender, user, shares, amount);
    }

    function withdraw(uint256 id, uint256 amount, address user) external {
        Hub hub = Hub(reserves[id].hub);
        uint256 shares = hub.previewAddByAssets(reserves[id].assetId, amount);
        positions[id][user].suppliedShares -= uint120(shares);
        hub.remove(reserves[id].assetId, shares, shares, user);
    }

    function borrow(uint256 id, uint256 amount, address user, uint256 premiumBps) external {
        Hub hub = Hub(reserves[id].hub);
        uint256 shares = hub.draw(reserves[id].assetId, amount, user);
        UserPosition storage p = positions[id][user];
        p.drawnShares += uint120(shares);
        emit Borrow(id, msg.sender, user, shares, amount);
        uint256 extra = (shares * premiumBps + BPS - 1) / BPS;
        int256 offset = int256(extra * hub.getAssetDrawnIndex(reserves[id].assetId));
        p.premiumShares += uint120(extra);
        p.premiumOffsetRay += int200(offset);
        hub.restore(reserves[id].assetId, 0, 0, int256(extra), offset, user);
        for (uint256 r; r < reserves.length; ++r) positions[r][user].dynamicConfigKey = reserves[r].dynamicConfigKey;
        require(getUserAccountData(user).healthFactor >= 1e18, "HealthFactorBelowThreshold");
    }

    // Health

    function getUserAccountData(address user) public view returns (UserAccountData memory d) {
        uint256 weighted;
        for (uint256 id; id < reserves.length; ++id) {
            UserPosition storage p = positions[id][user];
            if (p.suppliedShares == 0 && p.drawnShares == 0) continue;
            uint256 factor = collateral[id][user] ? dynamicConfigs[id][p.dynamicConfigKey].collateralFactor : 0;
            if (factor > 0 && p.suppliedShares > 0) {
                uint256 worth = value(id, supplied(id, p.suppliedShares));
                d.totalCollateralValue += worth;
                weighted += worth * factor;
                d.activeCollateralCount += 1;
            }
            if (p.drawnShares > 0) {
                d.totalDebtValueRay += value(id, debtRay(id, p));
                d.borrowCount += 1;
            }
        }
        d.healthFactor = d.totalDebtValueRay == 0 ? type(uint256).max : weighted * 1e14 * RAY / d.totalDebtValueRay;
        if (d.totalCollateralValue > 0) d.avgCollateralFactor = weighted * 1e14 / d.totalCollateralValue;
    }

    function getLiquidationBonus(uint256 id, address user, uint256 health) public view returns (uint256) {
        uint256 most = dynamicConfigs[id][positions[id][user].dynamicConfigKey].maxLiquidationBonus;
        if (health <= config.healthFactorForMaxBonus) return most;
        uint256 least = (most - BPS) * config.liquidationBonusFactor / BPS + BPS;
        return least + (most - least) * (1e18 - health) / (1e18 - config.healthFactorForMaxBonus);
    }

    // Liquidation

    function liquidationCall(uint256 heldId, uint256 owedId, address user, bool receiveShares) external {
        UserAccountData memory before = getUserAccountData(user);
        require(before.healthFactor < 1e18, "HealthFactorNotBelowThreshold");
        require((reserves[heldId].flags | reserves[owedId].flags) & 1 == 0, "ReservePaused");
        Amounts memory a = amounts(heldId, owedId, user, before);
        uint256 restored = pay(owedId, user, a);
        uint256 removed = supplied(heldId, a.toLiquidator);
        positions[heldId][user].suppliedShares -= uint120(a.collateralShares);
        if (receiveShares) {
            positions[heldId][msg.sender].suppliedShares += uint120(a.toLiquidator);
            Hub(reserves[heldId].hub).remove(reserves[heldId].assetId, a.collateralShares - a.toLiquidator, 0, address(0));
        } else {
            Hub(reserves[heldId].hub).remove(reserves[heldId].assetId, a.collateralShares, a.toLiquidator, msg.sender);
        }
        emit LiquidationCall(
            heldId, owedId, user, msg.sender, receiveShares, restored, a.drawnShares,
            PremiumDelta(0, 0, a.premiumRay), removed, a.collateralShares, a.toLiquidator
        );
        UserPosition storage p = positions[owedId][user];
        if (positions[heldId][user].suppliedShares == 0 && before.activeCollateralCount == 1 && p.drawnShares > 0) {
            uint256 lost = p.drawnShares * Hub(reserves[owedId].hub).getAssetDrawnIndex(reserves[owedId].assetId);
            Hub(reserves[owedId].hub).reportDeficit(reserves[owedId].assetId, p.drawnShares, lost);
            p.drawnShares = 0;
        }
    }

    function pay(uint256 id, address user, Amounts memory a) private returns (uint256 restored) {
        Hub hub = Hub(reserves[id].hub);
        uint256 index = hub.getAssetDrawnIndex(reserves[id].assetId);
        UserPosition storage p = positions[id][user];
        uint256 due = uint256(int256(p.premiumShares * index) - p.premiumOffsetRay) - a.premiumRay;
        int256 offset = -int256(due); // the premium stops, and what is not paid stays due
        int256 shares = -int256(uint256(p.premiumShares));
        int256 change = offset - p.premiumOffsetRay;
        (p.premiumShares, p.premiumOffsetRay) = (0, int200(offset));
        p.drawnShares -= uint120(a.drawnShares);
        restored = up(a.drawnShares * index) + up(a.premiumRay);
        hub.restore(reserves[id].assetId, restored, a.drawnShares, shares, change, msg.sender);
    }

    function amounts(uint256 heldId, uint256 owedId, address user, UserAccountData memory before)
        private
        view
        returns (Amounts memory a)
    {
        UserPosition storage p = positions[owedId][user];
        UserPosition storage h = positions[heldId][user];
        uint256 index = Hub(reserves[owedId].hub).getAssetDrawnIndex(reserves[owedId].assetId);
        uint256 premiumRay = uint256(int256(p.premiumShares * index) - p.premiumOffsetRay);
        uint256 bonus = getLiquidationBonus(heldId, user, before.healthFactor);
        {
            uint256 penalty = bonus * 1e14 * dynamicConfigs[heldId][h.dynamicConfigKey].collateralFactor / BPS;
            uint256 wanted = divUp(
                before.totalDebtValueRay * (config.targetHealthFactor - before.healthFactor),
                (config.targetHealthFactor - penalty) * value(owedId, 1)
            );
            a.premiumRay = min(up(wanted) * RAY, premiumRay);
            if (a.premiumRay == premiumRay && a.premiumRay < wanted) {
                a.drawnShares = min(divUp(wanted - a.premiumRay, index), p.drawnShares);
            }
        }
        if (
            a.drawnShares < p.drawnShares
                && value(owedId, (p.drawnShares - a.drawnShares) * index + premiumRay - a.premiumRay) < DUST * RAY
        ) (a.drawnShares, a.premiumRay) = (p.drawnShares, premiumRay);
        uint256 ratio = value(owedId, 1) * bonus;
        a.collateralShares = Hub(reserves[heldId].hub).previewAddByAssets(
            reserves[heldId].assetId, (a.drawnShares * index + a.premiumRay) * ratio / (value(heldId, 1) * BPS * RAY)
        );
        bool leavesDust = a.collateralShares < h.suppliedShares
            && value(heldId, supplied(heldId, h.suppliedShares - a.collateralShares)) < DUST;
        if (a.collateralShares > h.suppliedShares || (leavesDust && a.drawnShares < p.drawnShares)) {
            a.collateralShares = h.suppliedShares;
            uint256 ray = divUp(supplied(heldId, h.suppliedShares) * value(heldId, 1) * BPS * RAY, ratio);
            a.premiumRay = min(up(ray) * RAY, premiumRay);
            a.drawnShares = ray > premiumRay ? min(divUp(ray - premiumRay, index), p.drawnShares) : 0;
        }
        uint256 fee = dynamicConfigs[heldId][h.dynamicConfigKey].liquidationFee;
        a.toLiquidator = a.collateralShares - divUp(a.collateralShares * fee * (bonus - BPS), bonus * BPS);
    }

    // Arithmetic

    function supplied(uint256 id, uint256 shares) private view returns (uint256) {
        return Hub(reserves[id].hub).previewRemoveByShares(reserves[id].assetId, shares);
    }

    function debtRay(uint256 id, UserPosition storage p) private view returns (uint256) {
        uint256 index = Hub(reserves[id].hub).getAssetDrawnIndex(reserves[id].assetId);
        return p.drawnShares * index + uint256(int256(p.premiumShares * index) - p.premiumOffsetRay);
    }

    function value(uint256 id, uint256 amount) private view returns (uint256) {
        return amount * SpokeOracle(ORACLE).getReservePrice(id) * 10 ** (18 - reserves[id].decimals);
    }

    function up(uint256 ray) private pure returns (uint256) {
        return (ray + RAY - 1) / RAY;
    }

    function divUp(uint256 a, uint256 b) private pure returns (uint256) {
        return (a + b - 1) / b;
    }

    function min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }
}
