// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IToken {
    function balanceOf(address) external view returns (uint256);

    function transfer(address, uint256) external returns (bool);

    function transferFrom(address, address, uint256) external returns (bool);

    function decimals() external view returns (uint8);
}

interface IFeed {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80);
}

/// Imitates Compound III's CometWithExtendedAssetList as a lender, borrower, liquidator and reader sees it: the same
/// functions, results and events, principals and indices that really accrue, the same rounding of every product, the
/// flags of assets 16 to 23 in `_reserved`, and verdicts by the indices as last stored. Written from the documented
/// behaviour, not from its code. It does not imitate rewards, permissions, pauses, governance, the split into a proxy,
/// an extension and an asset list, tokens that take a fee or return nothing, nor the guard against re-entry.
contract CometStandIn {
    struct AssetInfo {
        uint8 offset;
        address asset;
        address priceFeed;
        uint64 scale;
        uint64 borrowCollateralFactor;
        uint64 liquidateCollateralFactor;
        uint64 liquidationFactor;
        uint128 supplyCap;
    }
    struct TotalsBasic {
        uint64 baseSupplyIndex;
        uint64 baseBorrowIndex;
        uint64 trackingSupplyIndex;
        uint64 trackingBorrowIndex;
        uint104 totalSupplyBase;
        uint104 totalBorrowBase;
        uint40 lastAccrualTime;
        uint8 pauseFlags;
    }
    struct UserBasic {
        int104 principal;
        uint64 baseTrackingIndex;
        uint64 baseTrackingAccrued;
        uint16 assetsIn;
        uint8 _reserved;
    }
    struct Collateral {
        uint128 amount;
        uint128 _reserved;
    }
    /// A yearly base rate, its slopes below and above the kink, and the kink, all in wad.
    struct Curve {
        uint64 base;
        uint64 slopeLow;
        uint64 slopeHigh;
        uint64 kink;
    }

    uint256 private constant WAD = 1e18;
    uint256 private constant INDEX = 1e15;
    uint256 private constant YEAR = 31_536_000;

    string public symbol;
    address public immutable baseToken;
    address public immutable baseTokenPriceFeed;
    uint256 public immutable baseScale;
    uint256 public immutable storeFrontPriceFactor;
    uint256 public immutable targetReserves;
    uint256 public immutable baseBorrowMin;
    uint8 public immutable decimals;
    uint8 public numAssets;

    TotalsBasic private totals;
    Curve private supplyCurve;
    Curve private borrowCurve;
    AssetInfo[] private listed;
    mapping(address => Collateral) public totalsCollateral;
    mapping(address => UserBasic) public userBasic;
    mapping(address => mapping(address => Collateral)) public userCollateral;

    event Supply(address indexed from, address indexed dst, uint256 amount);
    event Transfer(address indexed from, address indexed to, uint256 amount);
    event Withdraw(address indexed src, address indexed to, uint256 amount);
    event SupplyCollateral(address indexed from, address indexed dst, address indexed asset, uint256 amount);
    event TransferCollateral(address indexed from, address indexed to, address indexed asset, uint256 amount);
    event WithdrawCollateral(address indexed src, address indexed to, address indexed asset, uint256 amount);
    event AbsorbDebt(address indexed absorber, address indexed borrower, uint256 basePaidOut, uint256 usdValue);
    event AbsorbCollateral(
        address indexed absorber,
        address indexed borrower,
        address indexed asset,
        uint256 collateralAbsorbed,
        uint256 usdValue
    );
    event BuyCollateral(address indexed buyer, address indexed asset, uint256 baseAmount, uint256 collateralAmount);

    error BadPrice();
    error BadAsset();
    error BorrowTooSmall();
    error NotCollateralized();
    error NotLiquidatable();
    error NotForSale();
    error SupplyCapExceeded();

    constructor(string memory symbol_, address token, address feed, uint256[3] memory limits, Curve[2] memory curves) {
        symbol = symbol_;
        baseToken = token;
        baseTokenPriceFeed = feed;
        decimals = IToken(token).decimals();
        baseScale = 10 ** decimals;
        (storeFrontPriceFactor, targetReserves, baseBorrowMin) = (limits[0], limits[1], limits[2]);
        (supplyCurve, borrowCurve) = (curves[0], curves[1]);
        totals.baseSupplyIndex = totals.baseBorrowIndex = uint64(INDEX);
        totals.lastAccrualTime = uint40(block.timestamp);
    }

    /// Anyone lists a collateral; factors in wad, the cap in raw tokens.
    function list(address asset, address feed, uint64[3] calldata factors, uint128 cap) external {
        require(numAssets < 24, "24 assets");
        uint64 scale = uint64(10 ** IToken(asset).decimals());
        listed.push(AssetInfo(numAssets, asset, feed, scale, factors[0], factors[1], factors[2], cap));
        numAssets += 1;
    }

    // What is read.

    function getAssetInfo(uint8 i) public view returns (AssetInfo memory) {
        if (i >= numAssets) revert BadAsset();
        return listed[i];
    }

    function totalsBasic() external view returns (TotalsBasic memory) {
        return totals;
    }

    function getPrice(address feed) public view returns (uint256) {
        (, int256 answer, , , ) = IFeed(feed).latestRoundData();
        if (answer <= 0) revert BadPrice();
        return uint256(answer);
    }

    function getUtilization() public view returns (uint256) {
        uint256 supplied = (totals.totalSupplyBase * uint256(totals.baseSupplyIndex)) / INDEX;
        uint256 borrowed = (totals.totalBorrowBase * uint256(totals.baseBorrowIndex)) / INDEX;
        return supplied == 0 ? 0 : (borrowed * WAD) / supplied;
    }

    function getSupplyRate(uint256 utilization) public view returns (uint64) {
        return rate(supplyCurve, utilization);
    }

    function getBorrowRate(uint256 utilization) public view returns (uint64) {
        return rate(borrowCurve, utilization);
    }

    function supplyKink() external view returns (uint256) {
        return supplyCurve.kink;
    }

    function supplyPerSecondInterestRateBase() external view returns (uint256) {
        return supplyCurve.base / YEAR;
    }

    function supplyPerSecondInterestRateSlopeLow() external view returns (uint256) {
        return supplyCurve.slopeLow / YEAR;
    }

    function supplyPerSecondInterestRateSlopeHigh() external view returns (uint256) {
        return supplyCurve.slopeHigh / YEAR;
    }

    function borrowKink() external view returns (uint256) {
        return borrowCurve.kink;
    }

    function borrowPerSecondInterestRateBase() external view returns (uint256) {
        return borrowCurve.base / YEAR;
    }

    function borrowPerSecondInterestRateSlopeLow() external view returns (uint256) {
        return borrowCurve.slopeLow / YEAR;
    }

    function borrowPerSecondInterestRateSlopeHigh() external view returns (uint256) {
        return borrowCurve.slopeHigh / YEAR;
    }

    function getReserves() public view returns (int256) {
        return
            int256(IToken(baseToken).balanceOf(address(this))) - int256(totalSupply()) + int256(totalBorrow());
    }

    function getCollateralReserves(address asset) public view returns (uint256) {
        return IToken(asset).balanceOf(address(this)) - totalsCollateral[asset].amount;
    }

    function totalSupply() public view returns (uint256) {
        (uint256 index, ) = indicesNow();
        return (totals.totalSupplyBase * index) / INDEX;
    }

    function totalBorrow() public view returns (uint256) {
        (, uint256 index) = indicesNow();
        return (totals.totalBorrowBase * index) / INDEX;
    }

    function balanceOf(address account) public view returns (uint256) {
        (uint256 index, ) = indicesNow();
        int256 principal = userBasic[account].principal;
        return principal > 0 ? (uint256(principal) * index) / INDEX : 0;
    }

    function borrowBalanceOf(address account) public view returns (uint256) {
        (, uint256 index) = indicesNow();
        int256 principal = userBasic[account].principal;
        return principal < 0 ? (uint256(-principal) * index) / INDEX : 0;
    }

    function isBorrowCollateralized(address account) public view returns (bool) {
        return userBasic[account].principal >= 0 || isCovered(account, false);
    }

    function isLiquidatable(address account) public view returns (bool) {
        return userBasic[account].principal < 0 && !isCovered(account, true);
    }

    function quoteCollateral(address asset, uint256 baseAmount) public view returns (uint256) {
        AssetInfo memory info = find(asset);
        uint256 discount = (storeFrontPriceFactor * (WAD - info.liquidationFactor)) / WAD;
        uint256 price = (getPrice(info.priceFeed) * (WAD - discount)) / WAD;
        return (((getPrice(baseTokenPriceFeed) * baseAmount) * info.scale) / price) / baseScale;
    }

    // What accounts do.

    function supply(address asset, uint256 amount) external {
        supplyTo(msg.sender, asset, amount);
    }

    function supplyTo(address dst, address asset, uint256 amount) public {
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        if (asset == baseToken) {
            accrue();
            uint256 grown = move(dst, int256(amount));
            emit Supply(msg.sender, dst, amount);
            if (grown > 0) emit Transfer(address(0), dst, (grown * totals.baseSupplyIndex) / INDEX);
        } else {
            AssetInfo memory info = find(asset);
            totalsCollateral[asset].amount += uint128(amount);
            if (totalsCollateral[asset].amount > info.supplyCap) revert SupplyCapExceeded();
            hold(dst, info, userCollateral[dst][asset].amount + uint128(amount));
            emit SupplyCollateral(msg.sender, dst, asset, amount);
        }
    }

    function withdraw(address asset, uint256 amount) external {
        if (asset == baseToken) {
            accrue();
            uint256 before = lentTo(msg.sender);
            move(msg.sender, -int256(amount));
            checkBorrower(msg.sender);
            IToken(asset).transfer(msg.sender, amount);
            emit Withdraw(msg.sender, msg.sender, amount);
            told(msg.sender, before);
        } else {
            AssetInfo memory info = find(asset);
            totalsCollateral[asset].amount -= uint128(amount);
            hold(msg.sender, info, userCollateral[msg.sender][asset].amount - uint128(amount));
            if (!isBorrowCollateralized(msg.sender)) revert NotCollateralized();
            IToken(asset).transfer(msg.sender, amount);
            emit WithdrawCollateral(msg.sender, msg.sender, asset, amount);
        }
    }

    function transfer(address dst, uint256 amount) external returns (bool) {
        accrue();
        uint256 before = lentTo(msg.sender);
        move(msg.sender, -int256(amount));
        uint256 grown = move(dst, int256(amount));
        checkBorrower(msg.sender);
        told(msg.sender, before);
        if (grown > 0) emit Transfer(address(0), dst, (grown * totals.baseSupplyIndex) / INDEX);
        return true;
    }

    function transferAsset(address dst, address asset, uint256 amount) external {
        AssetInfo memory info = find(asset);
        hold(msg.sender, info, userCollateral[msg.sender][asset].amount - uint128(amount));
        hold(dst, info, userCollateral[dst][asset].amount + uint128(amount));
        if (!isBorrowCollateralized(msg.sender)) revert NotCollateralized();
        emit TransferCollateral(msg.sender, dst, asset, amount);
    }

    function accrueAccount(address) external {
        accrue();
    }

    function absorb(address absorber, address[] calldata accounts) external {
        accrue();
        for (uint256 i = 0; i < accounts.length; i++) {
            absorbOne(absorber, accounts[i]);
        }
    }

    function buyCollateral(address asset, uint256 least, uint256 baseAmount, address recipient) external {
        int256 reserves = getReserves();
        if (reserves >= 0 && uint256(reserves) >= targetReserves) revert NotForSale();
        IToken(baseToken).transferFrom(msg.sender, address(this), baseAmount);
        uint256 bought = quoteCollateral(asset, baseAmount);
        require(bought >= least && bought <= getCollateralReserves(asset), "reserves");
        IToken(asset).transfer(recipient, bought);
        emit BuyCollateral(msg.sender, asset, baseAmount, bought);
    }

    // Within.

    function rate(Curve storage curve, uint256 utilization) private view returns (uint64) {
        uint256 below = utilization < curve.kink ? utilization : curve.kink;
        uint256 above = utilization - below;
        return
            uint64(
                curve.base / YEAR + ((curve.slopeLow / YEAR) * below) / WAD + ((curve.slopeHigh / YEAR) * above) / WAD
            );
    }

    function indicesNow() private view returns (uint256 supplyIndex, uint256 borrowIndex) {
        (supplyIndex, borrowIndex) = (totals.baseSupplyIndex, totals.baseBorrowIndex);
        uint256 elapsed = block.timestamp - totals.lastAccrualTime;
        if (elapsed > 0) {
            uint256 utilization = getUtilization();
            supplyIndex += (supplyIndex * (getSupplyRate(utilization) * elapsed)) / WAD;
            borrowIndex += (borrowIndex * (getBorrowRate(utilization) * elapsed)) / WAD;
        }
    }

    function accrue() private {
        (uint256 supplyIndex, uint256 borrowIndex) = indicesNow();
        (totals.baseSupplyIndex, totals.baseBorrowIndex) = (uint64(supplyIndex), uint64(borrowIndex));
        totals.lastAccrualTime = uint40(block.timestamp);
    }

    function presentValue(int256 principal) private view returns (int256) {
        if (principal < 0) return -int256((uint256(-principal) * totals.baseBorrowIndex) / INDEX);
        return int256((uint256(principal) * totals.baseSupplyIndex) / INDEX);
    }

    /// Loans round up, deposits down.
    function principalOf(int256 balance) private view returns (int256) {
        uint256 index = totals.baseBorrowIndex;
        if (balance < 0) return -int256((uint256(-balance) * INDEX + index - 1) / index);
        return int256((uint256(balance) * INDEX) / totals.baseSupplyIndex);
    }

    /// Change a base balance; answers by how much the principal lent has grown.
    function move(address account, int256 change) private returns (uint256) {
        int256 before = userBasic[account].principal;
        return settle(account, before, principalOf(presentValue(before) + change));
    }

    function settle(address account, int256 before, int256 now_) private returns (uint256) {
        int256 lent = (now_ > 0 ? now_ : int256(0)) - (before > 0 ? before : int256(0));
        int256 owed = (now_ < 0 ? -now_ : int256(0)) - (before < 0 ? -before : int256(0));
        totals.totalSupplyBase = uint104(uint256(int256(uint256(totals.totalSupplyBase)) + lent));
        totals.totalBorrowBase = uint104(uint256(int256(uint256(totals.totalBorrowBase)) + owed));
        userBasic[account].principal = int104(now_);
        return lent > 0 ? uint256(lent) : 0;
    }

    function lentTo(address account) private view returns (uint256) {
        int256 principal = userBasic[account].principal;
        return principal > 0 ? uint256(principal) : 0;
    }

    function told(address account, uint256 before) private {
        uint256 left = lentTo(account);
        if (before > left) emit Transfer(account, address(0), ((before - left) * totals.baseSupplyIndex) / INDEX);
    }

    function checkBorrower(address account) private view {
        int256 balance = presentValue(userBasic[account].principal);
        if (balance >= 0) return;
        if (uint256(-balance) < baseBorrowMin) revert BorrowTooSmall();
        if (!isBorrowCollateralized(account)) revert NotCollateralized();
    }

    function find(address asset) private view returns (AssetInfo memory) {
        for (uint256 i = 0; i < listed.length; i++) {
            if (listed[i].asset == asset) return listed[i];
        }
        revert BadAsset();
    }

    function hold(address account, AssetInfo memory info, uint128 amount) private {
        userCollateral[account][info.asset].amount = amount;
        UserBasic storage user = userBasic[account];
        if (info.offset < 16) {
            uint16 bit = uint16(1) << info.offset;
            user.assetsIn = amount > 0 ? user.assetsIn | bit : user.assetsIn & ~bit;
        } else {
            uint8 bit = uint8(1) << (info.offset - 16);
            user._reserved = amount > 0 ? user._reserved | bit : user._reserved & ~bit;
        }
    }

    function isIn(UserBasic memory user, uint256 offset) private pure returns (bool) {
        uint256 flags = uint256(user.assetsIn) | (uint256(user._reserved) << 16);
        return (flags >> offset) & 1 == 1;
    }

    /// By the indices as last stored; prices are asked for only as long as the debt is not yet covered.
    function isCovered(address account, bool forLiquidation) private view returns (bool) {
        UserBasic memory user = userBasic[account];
        uint256 owed = uint256(-presentValue(user.principal));
        int256 liquidity = -int256((owed * getPrice(baseTokenPriceFeed)) / baseScale);
        for (uint256 i = 0; i < listed.length && liquidity < 0; i++) {
            if (!isIn(user, i)) continue;
            AssetInfo memory info = listed[i];
            uint256 worth = (userCollateral[account][info.asset].amount * getPrice(info.priceFeed)) / info.scale;
            uint256 factor = forLiquidation ? info.liquidateCollateralFactor : info.borrowCollateralFactor;
            liquidity += int256((worth * factor) / WAD);
        }
        return liquidity >= 0;
    }

    function absorbOne(address absorber, address account) private {
        if (!isLiquidatable(account)) revert NotLiquidatable();
        UserBasic memory user = userBasic[account];
        uint256 credited = 0;
        for (uint256 i = 0; i < listed.length; i++) {
            if (!isIn(user, i)) continue;
            AssetInfo memory info = listed[i];
            uint128 amount = userCollateral[account][info.asset].amount;
            uint256 worth = (amount * getPrice(info.priceFeed)) / info.scale;
            hold(account, info, 0);
            totalsCollateral[info.asset].amount -= amount;
            credited += (worth * info.liquidationFactor) / WAD;
            emit AbsorbCollateral(absorber, account, info.asset, amount, worth);
        }
        uint256 price = getPrice(baseTokenPriceFeed);
        int256 before = presentValue(user.principal);
        int256 left = before + int256((credited * baseScale) / price);
        if (left < 0) left = 0;
        settle(account, user.principal, principalOf(left));
        uint256 paid = uint256(left - before);
        emit AbsorbDebt(absorber, account, paid, (paid * price) / baseScale);
        int256 principal = userBasic[account].principal;
        if (principal > 0) emit Transfer(address(0), account, (uint256(principal) * totals.baseSupplyIndex) / INDEX);
    }
}
