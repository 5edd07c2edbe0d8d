// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates what readers ask of Euler's EthereumVaultConnector: the controllers and collaterals of an account, and the
/// events of both and of owners. It does not imitate who may act for whom, batches, deferred checks, operators,
/// permits or the limit of ten: anyone acts for any account, and the checks of the vaults run at once.
contract VaultConnector {
    mapping(address => address[]) private controllers;
    mapping(address => address[]) private collaterals;
    mapping(bytes19 => address) public owners;

    event OwnerRegistered(bytes19 indexed addressPrefix, address indexed owner);
    event CollateralStatus(address indexed account, address indexed collateral, bool enabled);
    event ControllerStatus(address indexed account, address indexed controller, bool enabled);

    function getControllers(address account) external view returns (address[] memory) {
        return controllers[account];
    }

    function getCollaterals(address account) external view returns (address[] memory) {
        return collaterals[account];
    }

    function isCollateralEnabled(address account, address vault) public view returns (bool) {
        return contains(collaterals[account], vault);
    }

    function isControllerEnabled(address account, address vault) public view returns (bool) {
        return contains(controllers[account], vault);
    }

    /// The account is one of the 256 that share the first 19 bytes of its owner's address.
    function open(address owner, address account, address controller, address[] calldata pledged) external {
        bytes19 prefix = bytes19(uint152(uint160(owner) >> 8));
        require(bytes19(uint152(uint160(account) >> 8)) == prefix, "not an account of this owner");
        if (owners[prefix] == address(0)) {
            owners[prefix] = owner;
            emit OwnerRegistered(prefix, owner);
        }
        for (uint256 i; i < pledged.length; ++i) {
            if (!isCollateralEnabled(account, pledged[i])) {
                collaterals[account].push(pledged[i]);
                emit CollateralStatus(account, pledged[i], true);
            }
        }
        if (!isControllerEnabled(account, controller)) {
            require(controllers[account].length == 0, "one controller an account");
            controllers[account].push(controller);
            emit ControllerStatus(account, controller, true);
        }
    }

    /// What a vault does for an account that owes it nothing (disableController).
    function release(address account) external {
        require(controllers[account].length == 1 && controllers[account][0] == msg.sender, "not its controller");
        controllers[account].pop();
        emit ControllerStatus(account, msg.sender, false);
    }

    function contains(address[] storage list, address item) private view returns (bool) {
        for (uint256 i; i < list.length; ++i) if (list[i] == item) return true;
        return false;
    }
}
