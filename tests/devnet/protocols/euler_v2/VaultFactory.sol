// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates how readers find vaults in Euler's GenericFactory: the list of proxies, in slices, and its event. It does
/// not imitate proxies, beacons or upgrades: vaults are deployed by themselves and put on the list.
contract VaultFactory {
    address[] public proxyList;

    event ProxyCreated(address indexed proxy, bool upgradeable, address implementation, bytes trailingData);

    function list(address vault, bytes calldata trailingData) external {
        proxyList.push(vault);
        emit ProxyCreated(vault, true, vault, trailingData);
    }

    function getProxyListLength() external view returns (uint256) {
        return proxyList.length;
    }

    function getProxyListSlice(uint256 start, uint256 end) external view returns (address[] memory slice) {
        if (end == type(uint256).max) end = proxyList.length;
        require(start <= end && end <= proxyList.length, "E_BadQuery");
        slice = new address[](end - start);
        for (uint256 i; i < slice.length; ++i) slice[i] = proxyList[start + i];
    }
}
