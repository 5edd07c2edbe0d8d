// SPDX-License-Identifier: MIT
pragma solidity >=0.8.11 <0.9.0;

import {IAggregatorV3Interface} from
    "@synthetixio/oracle-manager/contracts/interfaces/external/IAggregatorV3Interface.sol";
import {AssociatedSystem} from "@synthetixio/core-modules/contracts/storage/AssociatedSystem.sol";
import {AssociatedSystemsModule} from "@synthetixio/core-modules/contracts/modules/AssociatedSystemsModule.sol";
import {IERC20} from "@synthetixio/core-contracts/contracts/interfaces/IERC20.sol";
import {INftModule} from "@synthetixio/core-modules/contracts/interfaces/INftModule.sol";
import {ITokenModule} from "@synthetixio/core-modules/contracts/interfaces/ITokenModule.sol";
import {OwnableStorage} from "@synthetixio/core-contracts/contracts/ownership/OwnableStorage.sol";
import {Account, IRewardDistributor} from "@synthetixio/main/contracts/storage/Account.sol";

/// Stands for the router that Hardhat generates, and for the proxy before it: a call goes to the module of its selector.
contract Router {
    error UnknownSelector(bytes4 selector);

    constructor() {
        OwnableStorage.load().owner = msg.sender;
    }

    function route(address module, bytes4[] calldata selectors) external {
        OwnableStorage.onlyOwner();
        for (uint256 i; i < selectors.length; ++i) _modules()[selectors[i]] = module;
    }

    fallback() external {
        address module = _modules()[msg.sig];
        if (module == address(0)) revert UnknownSelector(msg.sig);
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), module, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            if done { return(0, returndatasize()) }
            revert(0, returndatasize())
        }
    }

    function _modules() private pure returns (mapping(bytes4 => address) storage modules) {
        bytes32 slot = keccak256("devnet.Router");
        assembly {
            modules.slot := slot
        }
    }
}

/// Imitates the core system's AccountModule: accounts are made, with their NFT, by whoever will own them. Transfers and
/// permissions are left out.
contract AccountModule {
    function createAccount(uint128 id) external {
        INftModule(getAccountTokenAddress()).mint(msg.sender, id);
        Account.Data storage account = Account.load(id);
        (account.id, account.rbac.owner) = (id, msg.sender);
    }

    function getAccountTokenAddress() public view returns (address) {
        return AssociatedSystem.load("accountNft").proxy;
    }
}

interface IMargin {
    function totalGlobalCollateralValue() external view returns (uint256);
}

/// Imitates what markets see of the core system: it mints and burns snxUSD for them, keeps what they have as collateral,
/// and lends them credit. The token and how it comes to be are the real modules'.
///
/// Not imitated: pools, vaults, the distribution of debt, issuance, caps, and the credit that follows from them: a market
/// can draw a fixed amount beyond what its traders have as margin.
contract Core is AssociatedSystemsModule {
    address public immutable getOracleManager;
    uint256 public immutable credit;
    uint128 private _last;
    mapping(uint128 => address) private _markets;
    mapping(uint128 => mapping(address => uint256)) public getMarketCollateralAmount;

    constructor(address oracleManager, uint256 credit_) {
        (getOracleManager, credit) = (oracleManager, credit_);
        OwnableStorage.load().owner = msg.sender;
    }

    function registerMarket(address market) external returns (uint128 id) {
        id = ++_last;
        _markets[id] = market;
    }

    function depositMarketUsd(uint128 id, address target, uint256 amount) external {
        _only(id);
        _usd().burn(target, amount);
    }

    function withdrawMarketUsd(uint128 id, address target, uint256 amount) external {
        _only(id);
        _usd().mint(target, amount);
    }

    function issue(address target, uint256 amount) external {
        OwnableStorage.onlyOwner();
        _usd().mint(target, amount);
    }

    function depositMarketCollateral(uint128 id, address token, uint256 amount) external {
        _only(id);
        getMarketCollateralAmount[id][token] += amount;
        IERC20(token).transferFrom(msg.sender, address(this), amount);
    }

    function withdrawMarketCollateral(uint128 id, address token, uint256 amount) external {
        _only(id);
        getMarketCollateralAmount[id][token] -= amount;
        IERC20(token).transfer(msg.sender, amount);
    }

    function getWithdrawableMarketUsd(uint128 id) external view returns (uint256) {
        return credit + IMargin(_markets[id]).totalGlobalCollateralValue();
    }

    function getMarketCollateral(uint128) external view returns (uint256) {
        return credit;
    }

    function getVaultCollateral(uint128, address) external pure returns (uint256, uint256) {}

    function _only(uint128 id) private view {
        require(_markets[id] == msg.sender, "not the market");
    }

    function _usd() private view returns (ITokenModule) {
        return ITokenModule(AssociatedSystem.load("USDToken").proxy);
    }
}

/// Imitates a rewards distributor, to which synths go that are seized: it keeps them.
contract Distributor {
    address public immutable token;
    uint128 public constant poolId = 1;

    constructor(address token_) {
        token = token_;
    }

    function distributeRewards(uint128, address, uint256, uint64, uint32) external {}

    function supportsInterface(bytes4 asked) external pure returns (bool) {
        return asked == type(IRewardDistributor).interfaceId || asked == 0x01ffc9a7;
    }
}

/// Imitates the wrapper of Pyth by which orders are settled: whenever the price is asked for, it is the feed's of now.
contract Benchmark {
    function getBenchmarkPrice(bytes32 feed, uint64) external view returns (int256) {
        (, int256 answer,,,) = IAggregatorV3Interface(address(uint160(uint256(feed)))).latestRoundData();
        return answer * 1e10;
    }
}
