// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IOracle {
    function price() external view returns (uint256);
}

/// Imitates LLAMMA, the AMM of a crvUSD market: bands with shares, an interest-bearing grid, an active band, get_sum_xy
/// and get_x_down. It does not imitate swaps, fees, callbacks or tokens: `sellDown` and `buyBack` move bands from one coin
/// to the other at their geometric mean price; anyone deposits for anybody. `p_oracle_up` multiplies band by band, where
/// the original takes an exponential: edges differ by some wei. Nor does it limit how fast its oracle's price moves, as the
/// original does within two minutes of a trade. `sharesOf` and `totalShares` are private in the original.
contract Llamma {
    uint256 private constant DEAD_SHARES = 1000;
    uint256 public immutable A;
    uint256 private immutable basePrice;
    uint256 private immutable precisionX;
    uint256 private immutable precisionY;
    uint256 private immutable rootRatio;
    address public price_oracle_contract;
    uint256 public rate;
    int256 public active_band;
    uint256 public admin_fees_x;
    uint256 public admin_fees_y;
    uint256 private multiplier = 1e18;
    uint256 private multiplierTime;

    mapping(int256 => uint256) public bands_x;
    mapping(int256 => uint256) public bands_y;
    mapping(int256 => uint256) public totalShares;
    mapping(address => mapping(uint256 => uint256)) public sharesOf;
    mapping(address => int256[2]) private ticks;

    constructor(uint256 a, uint256 base, address oracle, uint8 decimalsX, uint8 decimalsY) {
        (A, basePrice, price_oracle_contract) = (a, base, oracle);
        (precisionX, precisionY) = (10 ** (18 - decimalsX), 10 ** (18 - decimalsY));
        rootRatio = root(1e18 * a / (a - 1) * 1e18);
        multiplierTime = block.timestamp;
    }

    function setRate(uint256 rate_) external {
        multiplier = get_rate_mul();
        (multiplierTime, rate) = (block.timestamp, rate_);
    }

    function setOracle(address oracle) external {
        price_oracle_contract = oracle;
    }

    function setFees(uint256 x, uint256 y) external {
        (admin_fees_x, admin_fees_y) = (x, y);
    }

    function deposit(address user, uint256 amount, int256 n1, uint256 count) external {
        uint256 all = amount * precisionY;
        uint256 each = all / count;
        require(each > 100 && n1 > active_band, "not there");
        ticks[user] = [n1, n1 + int256(count) - 1];
        for (uint256 i; i < count; ++i) {
            int256 n = n1 + int256(i);
            uint256 y = i == 0 ? all - each * (count - 1) : each;
            uint256 s = (totalShares[n] + DEAD_SHARES) * y / (bands_y[n] + 1);
            bands_y[n] += y;
            totalShares[n] += s;
            sharesOf[user][i] = s;
        }
    }

    /// Sells every band down to `to`, and `part` (1e18: all) of that one.
    function sellDown(int256 to, uint256 part) external {
        while (active_band < to) sell(active_band++, 1e18);
        sell(to, part);
    }

    /// Buys back every band up to `to`, and `part` of that one.
    function buyBack(int256 to, uint256 part) external {
        while (active_band > to) buy(active_band--, 1e18);
        buy(to, part);
    }

    function sell(int256 n, uint256 part) private {
        uint256 y = bands_y[n] * part / 1e18;
        bands_y[n] -= y;
        bands_x[n] += y * root(p_oracle_up(n) * p_oracle_up(n + 1)) / 1e18;
    }

    function buy(int256 n, uint256 part) private {
        uint256 x = bands_x[n] * part / 1e18;
        bands_x[n] -= x;
        bands_y[n] += x * 1e18 / root(p_oracle_up(n) * p_oracle_up(n + 1));
    }

    function get_rate_mul() public view returns (uint256) {
        return multiplier * (1e18 + rate * (block.timestamp - multiplierTime)) / 1e18;
    }

    function price_oracle() public view returns (uint256) {
        return IOracle(price_oracle_contract).price();
    }

    function p_oracle_up(int256 n) public view returns (uint256 p) {
        p = basePrice * get_rate_mul() / 1e18;
        for (int256 i; i < n; ++i) p = p * (A - 1) / A;
        for (int256 i; i > n; --i) p = p * A / (A - 1);
    }

    function read_user_tick_numbers(address user) external view returns (int256[2] memory) {
        return ticks[user];
    }

    function get_sum_xy(address user) public view returns (uint256[2] memory sums) {
        int256[2] memory ns = ticks[user];
        if (sharesOf[user][0] == 0) return sums;
        for (int256 n = ns[0]; n <= ns[1]; ++n) {
            uint256 share = sharesOf[user][uint256(n - ns[0])];
            sums[0] += (bands_x[n] + 1) * share / (totalShares[n] + DEAD_SHARES);
            sums[1] += (bands_y[n] + 1) * share / (totalShares[n] + DEAD_SHARES);
        }
        (sums[0], sums[1]) = (sums[0] / precisionX, sums[1] / precisionY);
    }

    function get_x_down(address user) external view returns (uint256 all) {
        int256[2] memory ns = ticks[user];
        if (sharesOf[user][0] == 0) return 0;
        uint256 p = price_oracle();
        uint256 lower = p_oracle_up(ns[0]);
        for (int256 n = ns[0]; n <= ns[1]; ++n) {
            uint256 upper = lower;
            lower = lower * (A - 1) / A;
            uint256 x = n <= active_band ? bands_x[n] : 0;
            uint256 y = n >= active_band ? bands_y[n] : 0;
            if (x == 0 && y == 0) continue;
            all += inBand(x, y, p, upper, lower) * sharesOf[user][uint256(n - ns[0])] / (totalShares[n] + DEAD_SHARES);
        }
        all /= precisionX;
    }

    /// What a whole band would hold in x after a slow fall from the oracle's price through it.
    function inBand(uint256 x, uint256 y, uint256 p, uint256 upper, uint256 lower) private view returns (uint256) {
        if (x == 0 || y == 0) {
            uint256 middle = p ** 2 / lower * p / upper;
            if (p > upper) return (y == 0 ? x * 1e18 / middle : y) * upper / rootRatio;
            if (p < lower) return x == 0 ? y * middle / 1e18 : x;
        }
        uint256 y0 = y0Of(x, y, p, upper);
        uint256 f = A * y0 * p / upper * p / 1e18;
        uint256 g = (A - 1) * y0 * upper / p;
        uint256 kept = (f + x) * (g + y);
        if (p > upper) return (larger(kept / f, g) - g) * upper / rootRatio;
        if (p < lower) return larger(kept / g, f) - f;
        uint256 newY = A * y0Of(x, y, p, upper) * (p - lower) / p;
        return larger(kept / (g + newY), f) - f + newY * root(lower * p) / 1e18;
    }

    function y0Of(uint256 x, uint256 y, uint256 p, uint256 upper) private view returns (uint256) {
        uint256 b = x == 0 ? 0 : upper * (A - 1) * x / p;
        if (y != 0) b += A * p ** 2 / upper * y / 1e18;
        if (x == 0 || y == 0) return b * 1e18 / (A * p);
        return (b + root(b ** 2 + 4 * A * p * y / 1e18 * x)) * 1e18 / (2 * A * p);
    }

    function larger(uint256 a, uint256 b) private pure returns (uint256) {
        return a > b ? a : b;
    }

    function root(uint256 a) private pure returns (uint256 r) {
        if (a == 0) return 0;
        r = a;
        uint256 next = a / 2 + 1;
        while (next < r) (r, next) = (next, (next + a / next) / 2);
    }
}
