// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Stands in for Venus' ProtocolShareReserve, which the Liquidator pays: it takes note of nothing and pays nobody.
contract ShareReserve {
    function updateAssetsState(address comptroller, address asset, uint8 incomeType) external {}
}
