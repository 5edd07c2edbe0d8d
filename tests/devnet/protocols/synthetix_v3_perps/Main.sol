// SPDX-License-Identifier: MIT
pragma solidity >=0.8.11 <0.9.0;

import {IERC165} from "@synthetixio/core-contracts/contracts/interfaces/IERC165.sol";
import {INodeModule} from "@synthetixio/oracle-manager/contracts/interfaces/INodeModule.sol";
import {ERC2771Context} from "@synthetixio/core-contracts/contracts/utils/ERC2771Context.sol";

/// What the markets import of the core system (main) and its rewards distributor, which are not on npm: of interfaces
/// the functions that they call, from the published specification, and of the accounts who owns them.

interface IMarketManagerModule {
    function registerMarket(address market) external returns (uint128);
    function depositMarketUsd(uint128 marketId, address target, uint256 amount) external;
    function withdrawMarketUsd(uint128 marketId, address target, uint256 amount) external;
    function getWithdrawableMarketUsd(uint128 marketId) external view returns (uint256);
    function getMarketCollateral(uint128 marketId) external view returns (uint256);
}

interface IMarketCollateralModule {
    function depositMarketCollateral(uint128 marketId, address collateralType, uint256 amount) external;
    function withdrawMarketCollateral(uint128 marketId, address collateralType, uint256 amount) external;
    function getMarketCollateralAmount(uint128 marketId, address collateralType) external view returns (uint256);
}

interface IUtilsModule {
    function getOracleManager() external view returns (INodeModule);
}

interface ICollateralConfigurationModule {}

interface IVaultModule {
    function getVaultCollateral(uint128 poolId, address collateralType)
        external
        returns (uint256 amount, uint256 value);
}

interface IMarket is IERC165 {
    function name(uint128 marketId) external view returns (string memory);
    function reportedDebt(uint128 marketId) external view returns (uint256);
    function minimumCredit(uint128 marketId) external view returns (uint256);
}

interface IRewardDistributor is IERC165 {
    function name() external returns (string memory);
    function payout(uint128 accountId, uint128 poolId, address collateralType, address sender, uint256 amount)
        external
        returns (bool);
    function onPositionUpdated(uint128 accountId, uint128 poolId, address collateralType, uint256 newShares) external;
    function token() external returns (address);
}

interface RewardsDistributor {
    function token() external view returns (address);
    function poolId() external view returns (uint128);
    function distributeRewards(uint128 poolId, address collateralType, uint256 amount, uint64 start, uint32 duration)
        external;
}

library AccountRBAC {
    bytes32 internal constant _PERPS_MODIFY_COLLATERAL_PERMISSION = "PERPS_MODIFY_COLLATERAL";
    bytes32 internal constant _PERPS_COMMIT_ASYNC_ORDER_PERMISSION = "PERPS_COMMIT_ASYNC_ORDER";

    struct Data {
        address owner;
    }
}

/// Only its owner may act for an account: permissions that owners give to others are left out.
library Account {
    error PermissionDenied(uint128 accountId, bytes32 permission, address target);
    error AccountNotFound(uint128 accountId);

    struct Data {
        uint128 id;
        AccountRBAC.Data rbac;
    }

    function load(uint128 id) internal pure returns (Data storage account) {
        bytes32 slot = keccak256(abi.encode("io.synthetix.synthetix.Account", id));
        assembly {
            account.slot := slot
        }
    }

    function exists(uint128 id) internal view returns (Data storage account) {
        account = load(id);
        if (account.rbac.owner == address(0)) revert AccountNotFound(id);
    }

    function loadAccountAndValidatePermission(uint128 id, bytes32 permission)
        internal
        view
        returns (Data storage account)
    {
        account = load(id);
        address sender = ERC2771Context._msgSender();
        if (account.rbac.owner != sender) revert PermissionDenied(id, permission, sender);
    }
}
