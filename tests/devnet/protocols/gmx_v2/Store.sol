// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Imitates GMX v2's DataStore as its readers see it: values and sets by key. It does not imitate the roles that may
/// write; anyone does.
contract Store {
    mapping(bytes32 => uint256) public getUint;
    mapping(bytes32 => int256) public getInt;
    mapping(bytes32 => address) public getAddress;
    mapping(bytes32 => bool) public getBool;
    mapping(bytes32 => bytes32[]) private _bytes32s;
    mapping(bytes32 => address[]) private _addresses;

    function setUint(bytes32 key, uint256 value) external {
        getUint[key] = value;
    }

    function setInt(bytes32 key, int256 value) external {
        getInt[key] = value;
    }

    function setAddress(bytes32 key, address value) external {
        getAddress[key] = value;
    }

    function setBool(bytes32 key, bool value) external {
        getBool[key] = value;
    }

    function addBytes32(bytes32 set, bytes32 value) external {
        _bytes32s[set].push(value);
    }

    function addAddress(bytes32 set, address value) external {
        _addresses[set].push(value);
    }

    function getBytes32Count(bytes32 set) external view returns (uint256) {
        return _bytes32s[set].length;
    }

    function getAddressCount(bytes32 set) external view returns (uint256) {
        return _addresses[set].length;
    }

    /// EnumerableValues.valuesAt: an end beyond the set is its end.
    function getBytes32ValuesAt(bytes32 set, uint256 start, uint256 end) external view returns (bytes32[] memory values) {
        if (end > _bytes32s[set].length) end = _bytes32s[set].length;
        values = new bytes32[](end - start);
        for (uint256 i; i < values.length; ++i) values[i] = _bytes32s[set][start + i];
    }

    function getAddressValuesAt(bytes32 set, uint256 start, uint256 end) external view returns (address[] memory values) {
        if (end > _addresses[set].length) end = _addresses[set].length;
        values = new address[](end - start);
        for (uint256 i; i < values.length; ++i) values[i] = _addresses[set][start + i];
    }
}
