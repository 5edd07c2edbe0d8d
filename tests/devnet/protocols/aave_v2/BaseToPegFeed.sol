// SPDX-License-Identifier: MIT
pragma solidity 0.8.19;

interface IPegFeed {
    function latestAnswer() external view returns (int256);
}

/// Imitates BGD's CLSynchronicityPriceAdapterBaseToPeg: the price of an asset in a base currency, as the quotient of the
/// two's feeds in a third one, with 18 decimals. It does not imitate the checks of the feeds' decimals.
contract BaseToPegFeed {
    IPegFeed public immutable BASE_TO_PEG;
    IPegFeed public immutable ASSET_TO_PEG;
    uint8 public constant DECIMALS = 18;
    string public name;

    constructor(IPegFeed base, IPegFeed asset, string memory name_) {
        BASE_TO_PEG = base;
        ASSET_TO_PEG = asset;
        name = name_;
    }

    function latestAnswer() external view returns (int256) {
        int256 base = BASE_TO_PEG.latestAnswer();
        int256 asset = ASSET_TO_PEG.latestAnswer();
        if (base <= 0 || asset <= 0) {
            return 0;
        }
        return (asset * 1 ether) / base;
    }
}
