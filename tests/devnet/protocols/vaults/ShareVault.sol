// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {ERC20, ERC4626, IERC20} from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";

/// OpenZeppelin's ERC-4626 vault as it is, with the decimals offset chosen at deployment. Whatever is sent to it is
/// yield of its holders.
contract ShareVault is ERC4626 {
    uint8 private immutable offset;

    constructor(IERC20 asset_, string memory name_, string memory symbol_, uint8 offset_)
        ERC20(name_, symbol_)
        ERC4626(asset_)
    {
        offset = offset_;
    }

    function _decimalsOffset() internal view override returns (uint8) {
        return offset;
    }
}

/// The same, with shares that nothing backs at first. It is how vaults can come to hold each other: neither could take
/// the first deposit of the other's shares otherwise.
contract SeededVault is ShareVault {
    constructor(IERC20 asset_, string memory name_, string memory symbol_, uint8 offset_, uint256 shares)
        ShareVault(asset_, name_, symbol_, offset_)
    {
        _mint(msg.sender, shares);
    }
}
