// SPDX-License-Identifier: MIT
pragma solidity >=0.8.11 <0.9.0;

/// What 3.13.0 imports of core-contracts (npm, synthetixio) and 3.1.1, the newest on npm, does not have.
///
/// Not imitated: forwarders that vouch for another sender (ERC-2771), by which orders and deposits can be made for
/// somebody; local forks, on which a stale price counts as fresh.
library ERC2771Context {
    function _msgSender() internal view returns (address) {
        return msg.sender;
    }
}

library ForkDetector {
    function isDevFork() internal pure returns (bool) {
        return false;
    }
}

library RevertUtil {
    function revertWithReason(bytes memory reason) internal pure {
        assembly {
            revert(add(reason, 32), mload(reason))
        }
    }

    function revertIfError(bytes memory reason) internal pure {
        if (reason.length > 0) revertWithReason(reason);
    }

    /// The first of them: 3.13.0 joins several, which a caller then answers together (ERC-7412).
    function revertManyIfError(bytes[] memory reasons) internal pure {
        for (uint256 i; i < reasons.length; ++i) revertIfError(reasons[i]);
    }
}
