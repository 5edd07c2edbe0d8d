// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

interface IPrice {
    function getExchangeRateLiquidate() external view returns (uint256);
}

/// Imitates a Fluid vault of type T1 as its resolvers see it: raw amounts against exchange prices of 12 decimals that grow
/// with time, and lazy liquidation: a liquidation lowers every position above a ratio of debt to collateral to that
/// ratio, but the position's own storage stays as it was until somebody asks for the latest. It does not imitate ticks,
/// branches, their rounding and dust, the absorption of positions, tokens that move, or limits; its exchange prices grow
/// by its terms, not by the liquidity layer's rate times the magnifier, which its resolver reports.
contract Vault {
    uint256 public constant ONE = 1e27;

    struct Position {
        uint256 supply;
        uint256 borrow;
        uint256 seen;
    }

    struct Cut {
        uint256 ratio;
        uint256 collateralPerDebt;
    }

    struct Terms {
        uint16 collateralFactor;
        uint16 liquidationThreshold;
        uint16 liquidationMaxLimit;
        uint16 liquidationPenalty;
        int256 supplyRate;
        int256 borrowRate;
        uint16 borrowMagnifier;
    }

    address public immutable supplyToken;
    address public immutable borrowToken;
    address public immutable oracle;
    uint256 public immutable vaultType;
    uint256 private immutable opened;
    Terms private terms_;
    Cut[] private cuts;
    mapping(uint256 => Position) public stored;
    uint256 public rawSupply;
    uint256 public rawBorrow;

    constructor(address supply, address borrow, address oracle_, uint256 kind, Terms memory t) {
        (supplyToken, borrowToken, oracle, vaultType, terms_) = (supply, borrow, oracle_, kind, t);
        opened = block.timestamp;
    }

    function terms() external view returns (Terms memory) {
        return terms_;
    }

    function exchangePrices() public view returns (uint256 supply, uint256 borrow) {
        uint256 passed = block.timestamp - opened;
        supply = 1e12 + uint256(terms_.supplyRate) * passed * 1e8 / 365 days;
        borrow = 1e12 + uint256(terms_.borrowRate) * passed * 1e8 / 365 days;
    }

    /// The position takes normal amounts, in raw ones rounded against it.
    function operate(uint256 nft, uint256 supply, uint256 borrow) external {
        (uint256 supplyPrice, uint256 borrowPrice) = exchangePrices();
        uint256 held = supply * 1e12 / supplyPrice;
        uint256 owed = borrow == 0 ? 0 : borrow * 1e12 / borrowPrice + 1;
        (uint256 s, uint256 b) = latest(nft);
        stored[nft] = Position(s + held, b + owed, cuts.length);
        rawSupply += held;
        rawBorrow += owed;
    }

    /// Everybody above the threshold comes down to it, at the penalty; `nfts` are all positions, for the totals' sake.
    function liquidate(uint256[] calldata nfts) external {
        (uint256 supplyPrice, uint256 borrowPrice) = exchangePrices();
        uint256 price = IPrice(oracle).getExchangeRateLiquidate();
        uint256 rawPrice = price * supplyPrice / borrowPrice; // raw debt for raw collateral
        cuts.push(Cut(rawPrice * terms_.liquidationThreshold / 1e4, ONE * ONE / rawPrice * (1e4 + terms_.liquidationPenalty) / 1e4));
        (rawSupply, rawBorrow) = (0, 0);
        for (uint256 i; i < nfts.length; ++i) {
            (uint256 s, uint256 b) = latest(nfts[i]);
            rawSupply += s;
            rawBorrow += b;
        }
    }

    /// Raw amounts with all liquidations since the position was written.
    function latest(uint256 nft) public view returns (uint256 supply, uint256 borrow) {
        Position memory p = stored[nft];
        (supply, borrow) = (p.supply, p.borrow);
        for (uint256 i = p.seen; i < cuts.length; ++i) {
            Cut memory c = cuts[i];
            if (supply == 0 || borrow * ONE <= supply * c.ratio) continue;
            uint256 paid = (borrow * ONE - supply * c.ratio) / (ONE - c.ratio * c.collateralPerDebt / ONE);
            uint256 taken = paid * c.collateralPerDebt / ONE;
            (supply, borrow) = taken < supply ? (supply - taken, borrow - paid) : (0, 0); // else absorbed whole
        }
    }
}
