// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {LiquidityLayer} from "LiquidityLayer.sol";
import {Vault, IPrice} from "Vault.sol";

interface IAnswer {
    function latestAnswer() external view returns (int256);
}

interface IDecimals {
    function decimals() external view returns (uint8);
}

/// Imitates a Fluid oracle: raw debt for raw collateral, times 1e27. Its hops are named as GenericOracle names them: type 0
/// is a rate of Fluid's own, 2 a Chainlink feed. It does not imitate other sources, or an operate price of its own.
contract PairOracle {
    struct OracleHopSource {
        address source;
        bool invertRate;
        uint256 multiplier;
        uint256 divisor;
        uint8 sourceType;
    }

    address private immutable above;
    address private immutable below;
    uint256 private immutable ratio;
    bool private immutable named;
    uint256 private immutable scale;
    bool public broken;

    constructor(address collateral, address debt, uint256 placesAbove, uint256 placesBelow, uint256 rate, bool named_) {
        (above, below, ratio, named) = (collateral, debt, rate, named_);
        scale = 1e27 * 10 ** placesBelow / 10 ** placesAbove;
    }

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function getExchangeRateLiquidate() public view returns (uint256) {
        require(!broken, "FluidOracleError");
        uint256 rate = ratio == 0 ? 1e18 : ratio;
        if (above == below) return scale * rate / 1e18;
        return scale * uint256(IAnswer(above).latestAnswer()) * rate / (uint256(IAnswer(below).latestAnswer()) * 1e18);
    }

    function getOracleHopSources() external view returns (OracleHopSource[] memory sources) {
        require(named);
        sources = new OracleHopSource[](5);
        sources[0] = OracleHopSource(address(this), false, 1, 1, 0);
        if (above != below) sources[1] = OracleHopSource(above, false, 1, 1, 2);
    }
}

/// Imitates a token that says its own exchange rate, as wstETH does.
contract RatedToken {
    string public symbol;
    uint8 public constant decimals = 18;
    uint256 public stEthPerToken;

    constructor(string memory symbol_, uint256 rate) {
        (symbol, stEthPerToken) = (symbol_, rate);
    }
}

/// Imitates Fluid's VaultResolver, VaultPositionsResolver and the numbering of its VaultFactory, as far as readers ask: the
/// vaults, their entire data in the true layout, whose position is in which vault, and positions settled. What no reader
/// takes from the data is zero.
contract Resolvers {
    struct Tokens {
        address token0;
        address token1;
    }

    struct ConstantViews {
        address liquidity;
        address factory;
        address operateImplementation;
        address adminImplementation;
        address secondaryImplementation;
        address deployer;
        address supply;
        address borrow;
        Tokens supplyToken;
        Tokens borrowToken;
        uint256 vaultId;
        uint256 vaultType;
        bytes32 supplyExchangePriceSlot;
        bytes32 borrowExchangePriceSlot;
        bytes32 userSupplySlot;
        bytes32 userBorrowSlot;
    }

    struct Configs {
        uint16 supplyRateMagnifier;
        uint16 borrowRateMagnifier;
        uint16 collateralFactor;
        uint16 liquidationThreshold;
        uint16 liquidationMaxLimit;
        uint16 withdrawalGap;
        uint16 liquidationPenalty;
        uint16 borrowFee;
        address oracle;
        uint256 oraclePriceOperate;
        uint256 oraclePriceLiquidate;
        address rebalancer;
        uint256 lastUpdateTimestamp;
    }

    struct ExchangePricesAndRates {
        uint256[8] prices;
        uint256 supplyRateLiquidity;
        uint256 borrowRateLiquidity;
        int256 supplyRateVault;
        int256 borrowRateVault;
        int256 rewardsOrFeeRateSupply;
        int256 rewardsOrFeeRateBorrow;
    }

    struct TotalSupplyAndBorrow {
        uint256 totalSupplyVault;
        uint256 totalBorrowVault;
        uint256 totalSupplyLiquidityOrDex;
        uint256 totalBorrowLiquidityOrDex;
        uint256 absorbedSupply;
        uint256 absorbedBorrow;
    }

    struct LimitsAndAvailability {
        uint256 withdrawLimit;
        uint256 withdrawableUntilLimit;
        uint256 withdrawable;
        uint256 borrowLimit;
        uint256 borrowableUntilLimit;
        uint256 borrowable;
        uint256 borrowLimitUtilization;
        uint256 minimumBorrowing;
    }

    struct VaultEntireData {
        address vault;
        bool isSmartCol;
        bool isSmartDebt;
        ConstantViews constantVariables;
        Configs configs;
        ExchangePricesAndRates exchangePricesAndRates;
        TotalSupplyAndBorrow totalSupplyAndBorrow;
        LimitsAndAvailability limitsAndAvailability;
        uint256[13] vaultState;
        uint256[9] liquidityUserSupplyData;
        uint256[11] liquidityUserBorrowData;
    }

    struct UserPosition {
        uint256 nftId;
        address owner;
        uint256 supply;
        uint256 borrow;
    }

    struct Nft {
        address vault;
        address owner;
    }

    LiquidityLayer public immutable LIQUIDITY_RESOLVER;
    address[] private vaults;
    Nft[] private nfts;

    constructor(LiquidityLayer layer) {
        LIQUIDITY_RESOLVER = layer;
    }

    function list(address vault) external {
        vaults.push(vault);
    }

    function mint(address vault, address owner, uint256 supply, uint256 borrow) external {
        nfts.push(Nft(vault, owner));
        Vault(vault).operate(nfts.length, supply, borrow);
    }

    function getAllVaultsAddresses() external view returns (address[] memory) {
        return vaults;
    }

    function totalPositions() external view returns (uint256) {
        return nfts.length;
    }

    function vaultByNftId(uint256 id) external view returns (address) {
        return nfts[id - 1].vault;
    }

    function getPositionsForNftIds(uint256[] memory ids) external view returns (UserPosition[] memory found) {
        found = new UserPosition[](ids.length);
        for (uint256 i; i < ids.length; ++i) {
            Nft memory n = nfts[ids[i] - 1];
            (uint256 supply, uint256 borrow) = Vault(n.vault).latest(ids[i]);
            (uint256 supplyPrice, uint256 borrowPrice) = Vault(n.vault).exchangePrices();
            found[i] = UserPosition(ids[i], n.owner, supply * supplyPrice / 1e12, borrow * borrowPrice / 1e12);
        }
    }

    function getVaultEntireData(address vault) external view returns (VaultEntireData memory d) {
        Vault v = Vault(vault);
        Vault.Terms memory t = v.terms();
        d.vault = vault;
        d.constantVariables.liquidity = address(LIQUIDITY_RESOLVER);
        d.constantVariables.vaultType = v.vaultType();
        d.constantVariables.supplyToken.token0 = v.supplyToken();
        d.constantVariables.borrowToken.token0 = v.borrowToken();
        if (d.constantVariables.vaultType != 10000) d.isSmartCol = true;
        d.configs.borrowRateMagnifier = t.borrowMagnifier;
        d.configs.collateralFactor = t.collateralFactor;
        d.configs.liquidationThreshold = t.liquidationThreshold;
        d.configs.liquidationMaxLimit = t.liquidationMaxLimit;
        d.configs.liquidationPenalty = t.liquidationPenalty;
        d.configs.oracle = v.oracle();
        d.configs.oraclePriceLiquidate = IPrice(d.configs.oracle).getExchangeRateLiquidate();
        d.configs.oraclePriceOperate = d.configs.oraclePriceLiquidate;
        (uint256 supplyPrice, uint256 borrowPrice) = v.exchangePrices();
        d.exchangePricesAndRates.prices[6] = supplyPrice;
        d.exchangePricesAndRates.prices[7] = borrowPrice;
        d.exchangePricesAndRates.supplyRateVault = t.supplyRate;
        uint256 rate = LIQUIDITY_RESOLVER.getOverallTokenData(v.borrowToken()).borrowRate;
        d.exchangePricesAndRates.borrowRateLiquidity = rate;
        d.exchangePricesAndRates.borrowRateVault = int256(rate * t.borrowMagnifier / 1e4);
        d.totalSupplyAndBorrow.totalSupplyVault = v.rawSupply() * supplyPrice / 1e12;
        d.totalSupplyAndBorrow.totalBorrowVault = v.rawBorrow() * borrowPrice / 1e12;
        d.limitsAndAvailability.withdrawable = d.totalSupplyAndBorrow.totalSupplyVault;
        d.limitsAndAvailability.borrowLimit = 1e30;
        d.limitsAndAvailability.borrowable = 1e24;
    }
}
