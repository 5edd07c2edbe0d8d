// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

/// Imitates sUSD as the perps manager uses it: issued to and burnt from accounts, and its balances. It is its own proxy.
/// It does not imitate transfers, the reclamation of exchange fees, or who may issue and burn: anybody may.
contract PlainSynth {
    string public constant symbol = "sUSD";
    uint8 public constant decimals = 18;
    mapping(address => uint256) public balanceOf;

    function proxy() external view returns (address) {
        return address(this);
    }

    function issue(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function burn(address account, uint256 amount) external {
        balanceOf[account] -= amount;
    }
}

/// Imitates the Exchanger as perps markets ask it: no dynamic fee, nothing to settle.
contract StillExchanger {
    function dynamicFeeRateForExchange(bytes32, bytes32) external pure returns (uint256, bool) {
        return (0, false);
    }

    function settle(address, bytes32) external pure returns (uint256, uint256, uint256) {
        return (0, 0, 0);
    }
}

/// Imitates the FeePool as the perps manager pays it: an address for fees, and a record of them.
contract PlainFeePool {
    uint256 public recorded;

    function FEE_ADDRESS() external pure returns (address) {
        return 0xfeEFEEfeefEeFeefEEFEEfEeFeefEEFeeFEEFEeF;
    }

    function recordFeePaid(uint256 amount) external {
        recorded += amount;
    }
}
