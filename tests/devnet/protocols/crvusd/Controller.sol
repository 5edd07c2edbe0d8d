// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

import "Llamma.sol";

interface IToken {
    function balanceOf(address holder) external view returns (uint256);
    function transfer(address to, uint256 amount) external returns (bool);
}

interface IPolicy {
    function rate(address controller) external view returns (uint256);
}

interface IAnswer {
    function latestAnswer() external view returns (int256);
    function getRatio() external view returns (int256);
}

/// Imitates the Controller of a crvUSD or LlamaLend market: loans that grow with the AMM's rate, the list of loans, each
/// loan's discount, user_state, health, and the rate that its monetary policy gives the AMM. It does not imitate
/// borrowing's limits, repayment, liquidation or tokens: anyone opens any loan for anybody, and `payOut` stands for the
/// vault's transferFrom.
contract LoanController {
    struct Loan {
        uint256 initialDebt;
        uint256 multiplier;
    }

    Llamma public immutable amm;
    address public immutable collateral_token;
    address private immutable borrowed;
    bool private immutable saysBorrowed;
    uint256 private immutable precisionX;
    uint256 private immutable precisionY;
    uint256 private constant MAX_RATE = 43959106799;
    uint256 public liquidation_discount;
    IPolicy public monetary_policy;
    mapping(address => uint256) public liquidation_discounts;
    address[] public loans;
    mapping(address => Loan) private loan;
    Loan private total = Loan(0, 1e18);

    constructor(Llamma amm_, address collateral, address borrowed_, bool says, uint8 decimalsX, uint8 decimalsY) {
        (amm, collateral_token, borrowed, saysBorrowed) = (amm_, collateral, borrowed_, says);
        (precisionX, precisionY) = (10 ** (18 - decimalsX), 10 ** (18 - decimalsY));
    }

    /// The first controllers do not have it.
    function borrowed_token() external view returns (address) {
        require(saysBorrowed);
        return borrowed;
    }

    function setDiscount(uint256 discount) external {
        liquidation_discount = discount;
    }

    function setPolicy(IPolicy policy) external {
        monetary_policy = policy;
    }

    function save_rate() public {
        uint256 rate = monetary_policy.rate(address(this));
        amm.setRate(rate < MAX_RATE ? rate : MAX_RATE);
    }

    function payOut(address to, uint256 amount) external {
        IToken(borrowed).transfer(to, amount);
        save_rate();
    }

    function createLoan(address user, uint256 collateral, uint256 debt_, uint256 count, int256 n1) external {
        amm.deposit(user, collateral, n1, count);
        uint256 now_ = amm.get_rate_mul();
        loan[user] = Loan(debt_, now_);
        total = Loan(total_debt() + debt_, now_);
        liquidation_discounts[user] = liquidation_discount;
        loans.push(user);
    }

    function n_loans() external view returns (uint256) {
        return loans.length;
    }

    function debt(address user) public view returns (uint256) {
        uint256 owed = loan[user].initialDebt * amm.get_rate_mul();
        uint256 by = loan[user].multiplier;
        if (owed == 0) return 0;
        return (owed % by > 0 && loans.length > 1 ? owed + by : owed) / by; // a unit more, unless it is the only loan
    }

    function total_debt() public view returns (uint256) {
        return total.initialDebt * amm.get_rate_mul() / total.multiplier;
    }

    function user_state(address user) external view returns (uint256[4] memory) {
        uint256[2] memory xy = amm.get_sum_xy(user);
        int256[2] memory ns = amm.read_user_tick_numbers(user);
        return [xy[1], xy[0], debt(user), uint256(ns[1] - ns[0] + 1)];
    }

    function health(address user, bool full) external view returns (int256 found) {
        int256 owed = int256(debt(user));
        require(owed > 0, "Loan doesn't exist");
        found = int256(amm.get_x_down(user)) * (1e18 - int256(liquidation_discounts[user])) / owed - 1e18;
        int256 first = amm.read_user_tick_numbers(user)[0];
        if (full && first > amm.active_band()) {
            (uint256 p, uint256 up) = (amm.price_oracle(), amm.p_oracle_up(first));
            uint256 above = p > up ? (p - up) * amm.get_sum_xy(user)[1] * precisionY : 0;
            found += int256(above / (uint256(owed) * precisionX));
        }
    }
}

/// Imitates ControllerFactory (mint markets).
contract MintFactory {
    address public immutable stablecoin;
    address[] public controllers;
    mapping(address => uint256) public debt_ceiling;

    constructor(address coin) {
        stablecoin = coin;
    }

    function add(address controller, uint256 ceiling) external {
        controllers.push(controller);
        debt_ceiling[controller] = ceiling;
    }

    function n_collaterals() external view returns (uint256) {
        return controllers.length;
    }
}

/// Imitates OneWayLendingFactory (LlamaLend).
contract LendFactory {
    address public immutable STABLECOIN;
    address[] public controllers;
    address[] public vaults;

    constructor(address coin) {
        STABLECOIN = coin;
    }

    function add(address controller, address vault) external {
        controllers.push(controller);
        vaults.push(vault);
    }

    function market_count() external view returns (uint256) {
        return controllers.length;
    }
}

/// Imitates a LlamaLend Vault's totals, share price and rate; nobody deposits, and what is withdrawn is nobody's shares.
/// As in the original, 1e18 shares of a new vault are a thousandth of a whole token.
contract LendVault {
    uint256 private constant DEAD_SHARES = 1000;
    string public symbol;
    uint8 public constant decimals = 18;
    LoanController private immutable controller;
    address private immutable borrowed;
    uint256 private immutable precision;
    uint256 public totalSupply;

    constructor(string memory symbol_, LoanController controller_, address borrowed_, uint256 shares, uint8 places) {
        (symbol, controller, borrowed, totalSupply) = (symbol_, controller_, borrowed_, shares);
        precision = 10 ** (18 - places);
    }

    function totalAssets() public view returns (uint256) {
        return IToken(borrowed).balanceOf(address(controller)) + controller.total_debt();
    }

    function convertToAssets(uint256 shares) external view returns (uint256) {
        return shares * (totalAssets() * precision + 1) / ((totalSupply + DEAD_SHARES) * precision);
    }

    function withdraw(uint256 assets) external {
        controller.payOut(msg.sender, assets);
    }

    function lend_apr() external view returns (uint256) {
        return controller.amm().rate() * 365 days * controller.total_debt() / totalAssets();
    }
}

/// Imitates AggregateStablePrice: the stablecoin in USD. Anyone sets it.
contract StableAggregator {
    uint256 public price = 1e18;

    function set(uint256 price_) external {
        price = price_;
    }
}

/// Imitates the price oracles of crvUSD and LlamaLend (CryptoFromPool, with and without AGG and VAULT): the collateral in
/// borrowed tokens, or in USD where the oracle multiplies by the aggregator, which it then names. USD feeds stand in for
/// pools: `up` prices the collateral, `down` what is borrowed; without a feed it is the stablecoin, at the aggregator's
/// price. AGG and VAULT revert where the oracle has none.
contract LlammaOracle {
    address private immutable up;
    address private immutable down;
    StableAggregator private immutable aggregator;
    bool private immutable inDollars;
    address private immutable vault;
    address private immutable ratio;
    bool private broken;

    constructor(address[2] memory feeds, StableAggregator aggregator_, bool inDollars_, address vault_, address ratio_) {
        (up, down, aggregator, inDollars) = (feeds[0], feeds[1], aggregator_, inDollars_);
        (vault, ratio) = (vault_, ratio_);
    }

    function breakDown() external {
        broken = true;
    }

    function AGG() external view returns (StableAggregator) {
        require(inDollars);
        return aggregator;
    }

    function VAULT() external view returns (address) {
        require(vault != address(0));
        return vault;
    }

    function usd(address feed) private view returns (uint256) {
        return feed == address(0) ? aggregator.price() : uint256(IAnswer(feed).latestAnswer()) * 1e10;
    }

    function price() external view returns (uint256 p) {
        require(!broken);
        p = inDollars ? usd(up) : usd(up) * 1e18 / usd(down);
        if (ratio != address(0)) p = p * uint256(IAnswer(ratio).getRatio()) / 1e18;
        if (vault != address(0)) p = p * SavingsVault(vault).convertToAssets(1e18) / 1e18;
    }
}

/// Imitates an ERC-4626 vault of an 18-decimal asset at a fixed rate, and its token.
contract SavingsVault {
    string public symbol;
    uint8 public constant decimals = 18;
    address public immutable asset;
    mapping(address => uint256) public balanceOf;

    constructor(string memory symbol_, address asset_) {
        (symbol, asset) = (symbol_, asset_);
    }

    function mint(address to, uint256 shares) external {
        balanceOf[to] += shares;
    }

    function convertToAssets(uint256 shares) external pure returns (uint256) {
        return shares * 108 / 100;
    }
}
