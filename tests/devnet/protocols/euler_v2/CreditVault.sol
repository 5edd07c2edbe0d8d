// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IConnector {
    function getControllers(address account) external view returns (address[] memory);

    function getCollaterals(address account) external view returns (address[] memory);

    function release(address account) external;
}

interface IPrices {
    function getQuote(uint256 inAmount, address base, address quote) external view returns (uint256);
}

interface IToken {
    function balanceOf(address account) external view returns (uint256);

    function decimals() external view returns (uint8);

    function transfer(address to, uint256 amount) external returns (bool);

    function transferFrom(address from, address to, uint256 amount) external returns (bool);
}

interface IShares is IToken {
    function seize(address from, address to, uint256 shares) external;
}

interface IRateModel {
    function computeInterestRate(address vault, uint256 cash, uint256 borrows) external returns (uint256);
}

/// Imitates an EVault of the Euler Vault Kit as its readers see it, with its arithmetic: debt in 2^-31 of a raw unit and
/// rounded up, an accumulator that compounds every second, fees that are shares of nobody yet, a virtual deposit of 1e6,
/// liquidation LTVs that ramp down, liquidity in the unit of account, the largest liquidation at a discount that grows
/// with the violation, and the rate that a model, where there is one, answers after each action, up to the highest that
/// is accepted. Without a model the rate is the one it is configured with, where an EVault's is 0. It does not imitate proxies, modules, hooks, bid and ask prices, cool-off, the balance
/// tracker or who may do what: anyone deposits, borrows and governs for anyone.
contract CreditVault {
    uint256 private constant SHIFT = 31;
    uint256 private constant VIRTUAL = 1e6;
    uint256 private constant SCALE = 1e4;
    uint256 private constant RAY = 1e27;
    uint256 private constant HIGHEST_RATE = 291867278914945094175; // 1,000,000 % a year

    struct Limits {
        uint16 borrow;
        uint16 liquidation;
        uint16 initial;
        uint48 target;
        uint32 ramp;
    }

    struct Debt {
        uint256 owed;
        uint256 accumulator;
    }

    struct State {
        uint256 shares;
        uint256 borrows;
        uint256 fees;
        uint256 accumulator;
    }

    address public immutable EVC;
    address public immutable asset;
    address public immutable oracle;
    address public immutable unitOfAccount;
    string public symbol;
    uint8 public immutable decimals;

    uint256 public cash;
    uint16 public maxLiquidationDiscount;
    uint16 public interestFee;
    uint256 public interestRate;
    address public interestRateModel;
    uint16 private supplyCap;
    uint16 private borrowCap;
    address private hookTarget;
    uint32 private hookedOps;
    uint256 private updated;
    State private stored;
    address[] private collateralList;
    mapping(address => Limits) private limits;
    mapping(address => Debt) private debts;
    mapping(address => uint256) public balanceOf;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Borrow(address indexed account, uint256 assets);
    event Repay(address indexed account, uint256 assets);

    constructor(address evc, address asset_, address oracle_, address unit, string memory symbol_) {
        (EVC, asset, oracle, unitOfAccount, symbol) = (evc, asset_, oracle_, unit, symbol_);
        decimals = IToken(asset_).decimals();
        stored.accumulator = RAY;
        updated = block.timestamp;
    }

    // Governance

    function configure(uint256 rate, uint16 fee, uint16 discount, uint16 supplyCap_, uint16 borrowCap_) external {
        accrue();
        (interestRate, interestFee, maxLiquidationDiscount) = (rate, fee, discount);
        (supplyCap, borrowCap) = (supplyCap_, borrowCap_);
    }

    function setInterestRateModel(address model) external {
        accrue();
        (interestRateModel, interestRate) = (model, 0);
        ask();
    }

    function setLTV(address collateral, uint16 borrowLTV, uint16 liquidationLTV, uint32 ramp) external {
        require(collateral != address(this) && borrowLTV <= liquidationLTV, "E_InvalidLTVAsset");
        if (limits[collateral].target == 0) collateralList.push(collateral);
        uint16 initial = LTVLiquidation(collateral);
        limits[collateral] = Limits(borrowLTV, liquidationLTV, initial, uint48(block.timestamp + ramp), ramp);
    }

    /// Only told: nothing here calls hooks or is switched off by them.
    function setHookConfig(address target, uint32 operations) external {
        (hookTarget, hookedOps) = (target, operations);
    }

    function hookConfig() external view returns (address, uint32) {
        return (hookTarget, hookedOps);
    }

    function LTVList() external view returns (address[] memory) {
        return collateralList;
    }

    function LTVFull(address collateral) external view returns (uint16, uint16, uint16, uint48, uint32) {
        Limits memory l = limits[collateral];
        return (l.borrow, l.liquidation, l.initial, l.target, l.ramp);
    }

    function LTVLiquidation(address collateral) public view returns (uint16) {
        Limits memory l = limits[collateral];
        if (block.timestamp >= l.target || l.liquidation >= l.initial) return l.liquidation;
        uint256 left = l.target - block.timestamp;
        return uint16(l.liquidation + (uint256(l.initial) - l.liquidation) * left / l.ramp);
    }

    function caps() external view returns (uint16, uint16) {
        return (supplyCap, borrowCap);
    }

    // State with the interest due

    function current() private view returns (State memory s) {
        s = stored;
        uint256 passed = block.timestamp - updated;
        if (passed == 0) return s;
        s.accumulator = s.accumulator * power(interestRate + RAY, passed) / RAY;
        uint256 grown = s.borrows * s.accumulator / stored.accumulator;
        uint256 due = (grown - s.borrows) * interestFee / (SCALE << SHIFT);
        s.borrows = grown;
        if (due != 0) {
            uint256 total = cash + roundUp(grown);
            uint256 shares = total * s.shares / (total - due);
            s.fees += shares - s.shares;
            s.shares = shares;
        }
    }

    function accrue() private {
        stored = current();
        updated = block.timestamp;
    }

    function touch() external {
        accrue();
        ask();
    }

    /// What the model answers is the rate from now on; a model that reverts leaves it as it was.
    function ask() private {
        if (interestRateModel == address(0)) return;
        try IRateModel(interestRateModel).computeInterestRate(address(this), cash, roundUp(stored.borrows)) returns (
            uint256 rate
        ) {
            interestRate = rate < HIGHEST_RATE ? rate : HIGHEST_RATE;
        } catch {}
    }

    function totalSupply() external view returns (uint256) {
        return current().shares;
    }

    function totalBorrows() external view returns (uint256) {
        return roundUp(current().borrows);
    }

    function totalAssets() external view returns (uint256) {
        return cash + roundUp(current().borrows);
    }

    function accumulatedFees() external view returns (uint256) {
        return current().fees;
    }

    function convertToAssets(uint256 shares) public view returns (uint256) {
        State memory s = current();
        require(shares <= type(uint112).max, "E_AmountTooLargeToEncode");
        return shares * (cash + roundUp(s.borrows) + VIRTUAL) / (s.shares + VIRTUAL);
    }

    function debtOf(address account) public view returns (uint256) {
        return roundUp(exactDebt(account, current().accumulator));
    }

    // Positions

    function deposit(uint256 amount, address receiver) external returns (uint256 shares) {
        accrue();
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        shares = amount * (stored.shares + VIRTUAL) / (cash + roundUp(stored.borrows) + VIRTUAL);
        cash += amount;
        stored.shares += shares;
        balanceOf[receiver] += shares;
        emit Transfer(address(0), receiver, shares);
        ask();
    }

    function withdraw(uint256 amount, address receiver, address owner) external returns (uint256 shares) {
        accrue();
        uint256 total = cash + roundUp(stored.borrows) + VIRTUAL;
        shares = (amount * (stored.shares + VIRTUAL) + total - 1) / total;
        cash -= amount;
        stored.shares -= shares;
        balanceOf[owner] -= shares;
        IToken(asset).transfer(receiver, amount);
        emit Transfer(owner, address(0), shares);
        ask();
    }

    function transfer(address from, address to, uint256 shares) public {
        balanceOf[from] -= shares;
        balanceOf[to] += shares;
        emit Transfer(from, to, shares);
    }

    function seize(address from, address to, uint256 shares) external {
        transfer(from, to, shares);
    }

    /// `borrow` for an account, which must have this vault as its controller.
    function borrow(uint256 amount, address account) external {
        accrue();
        requireController(account);
        debts[account] = Debt(exactDebt(account, stored.accumulator) + (amount << SHIFT), stored.accumulator);
        stored.borrows += amount << SHIFT;
        cash -= amount;
        IToken(asset).transfer(account, amount);
        emit Borrow(account, amount);
        ask();
        (uint256 collateral, uint256 liability) = accountLiquidity(account, false);
        require(collateral > liability, "E_AccountLiquidity");
    }

    function repay(uint256 amount, address account) external {
        accrue();
        uint256 exact = exactDebt(account, stored.accumulator);
        if (amount == type(uint256).max) amount = roundUp(exact);
        uint256 left = (roundUp(exact) - amount) << SHIFT;
        debts[account] = Debt(left, stored.accumulator);
        stored.borrows = stored.borrows > exact ? stored.borrows - exact + left : left;
        cash += amount;
        IToken(asset).transferFrom(msg.sender, address(this), amount);
        emit Repay(account, amount);
        ask();
        if (left == 0) IConnector(EVC).release(account);
    }

    // Liquidity

    function accountLiquidity(address account, bool liquidation)
        public
        view
        returns (uint256 collateralValue, uint256 liabilityValue)
    {
        uint256[] memory values;
        (, values, liabilityValue) = accountLiquidityFull(account, liquidation);
        for (uint256 i; i < values.length; ++i) collateralValue += values[i];
    }

    function accountLiquidityFull(address account, bool liquidation)
        public
        view
        returns (address[] memory collaterals, uint256[] memory values, uint256 liabilityValue)
    {
        requireController(account);
        require(oracle != address(0), "E_NoPriceOracle");
        collaterals = IConnector(EVC).getCollaterals(account);
        values = new uint256[](collaterals.length);
        for (uint256 i; i < collaterals.length; ++i) {
            uint256 ltv = liquidation ? LTVLiquidation(collaterals[i]) : limits[collaterals[i]].borrow;
            uint256 balance = ltv == 0 ? 0 : IToken(collaterals[i]).balanceOf(account);
            if (balance == 0) continue;
            values[i] = IPrices(oracle).getQuote(balance, collaterals[i], unitOfAccount) * ltv / SCALE;
        }
        uint256 owed = debtOf(account);
        if (owed != 0) {
            liabilityValue = asset == unitOfAccount ? owed : IPrices(oracle).getQuote(owed, asset, unitOfAccount);
        }
    }

    function checkLiquidation(address, address violator, address collateral)
        public
        view
        returns (uint256 maxRepay, uint256 maxYield)
    {
        require(limits[collateral].target != 0, "E_BadCollateral"); // one with an LTV of 0 can be seized
        (uint256 adjusted, uint256 liability) = accountLiquidity(violator, true);
        if (liability == 0 || adjusted > liability) return (0, 0);
        uint256 health = adjusted * 1e18 / liability;
        uint256 least = 1e18 - 1e18 * uint256(maxLiquidationDiscount) / SCALE;
        if (health < least) health = least;
        uint256 balance = IToken(collateral).balanceOf(violator);
        uint256 value = IPrices(oracle).getQuote(balance, collateral, unitOfAccount);
        if (value == 0) return (0, balance);
        uint256 repaid = liability;
        uint256 taken = liability * 1e18 / health;
        if (value < taken) (repaid, taken) = (value * health / 1e18, value);
        return (repaid * debtOf(violator) / liability, taken * balance / value);
    }

    // Arithmetic

    function requireController(address account) private view {
        address[] memory controllers = IConnector(EVC).getControllers(account);
        require(controllers.length == 1 && controllers[0] == address(this), "E_ControllerDisabled");
    }

    function exactDebt(address account, uint256 accumulator) private view returns (uint256) {
        Debt memory d = debts[account];
        return d.owed == 0 ? 0 : d.owed * accumulator / d.accumulator;
    }

    function roundUp(uint256 owed) private pure returns (uint256) {
        return (owed + (1 << SHIFT) - 1) >> SHIFT;
    }

    /// base^n in ray, rounded half up at each step.
    function power(uint256 base, uint256 n) private pure returns (uint256 result) {
        result = n % 2 == 1 ? base : RAY;
        for (n /= 2; n != 0; n /= 2) {
            base = (base * base + RAY / 2) / RAY;
            if (n % 2 == 1) result = (result * base + RAY / 2) / RAY;
        }
    }
}
