// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Stand-ins for the contracts of Maker's dss, written from their documented behaviour, not from their code: the same
/// functions, results, units and rounding, as far as a reader, an owner of vaults or a liquidator sees them.
/// They do not imitate who may do what (anybody may file, slip, suck and grab), the token and coin adapters (collateral
/// is slipped in, coins stay within the vat), savings, surplus and debt auctions, emergency shutdown, and what keepers
/// are paid.

/// Imitates the chainlog: contracts by their keys.
contract ChainLogStandIn {
    mapping(bytes32 => address) private found;

    function setAddress(bytes32 key, address value) external {
        found[key] = value;
    }

    function getAddress(bytes32 key) external view returns (address) {
        require(found[key] != address(0), "dss-chain-log/invalid-key");
        return found[key];
    }
}

/// Imitates the vat: vaults, and the anonymous note that follows each call with its selector and first arguments.
contract VatStandIn {
    struct Ilk {
        uint256 Art;
        uint256 rate;
        uint256 spot;
        uint256 line;
        uint256 dust;
    }
    struct Urn {
        uint256 ink;
        uint256 art;
    }

    mapping(bytes32 => Ilk) public ilks;
    mapping(bytes32 => mapping(address => Urn)) public urns;
    mapping(bytes32 => mapping(address => uint256)) public gem;
    mapping(address => uint256) public dai;
    mapping(address => uint256) public sin;
    mapping(address => mapping(address => uint256)) public can;
    uint256 public debt;
    uint256 public vice;
    uint256 public live = 1;

    event LogNote(bytes4 indexed sig, bytes32 indexed arg1, bytes32 indexed arg2, bytes32 indexed arg3, bytes data)
        anonymous;

    modifier note() {
        _;
        bytes calldata given = msg.data;
        emit LogNote(msg.sig, word(given, 4), word(given, 36), word(given, 68), given);
    }

    function init(bytes32 ilk) external note {
        require(ilks[ilk].rate == 0, "Vat/ilk-already-init");
        ilks[ilk].rate = 1e27;
    }

    function file(bytes32 ilk, bytes32 what, uint256 data) external note {
        if (what == "spot") ilks[ilk].spot = data;
        if (what == "line") ilks[ilk].line = data;
        if (what == "dust") ilks[ilk].dust = data;
    }

    function slip(bytes32 ilk, address usr, int256 wad) external note {
        gem[ilk][usr] = plus(gem[ilk][usr], wad);
    }

    function flux(bytes32 ilk, address src, address dst, uint256 wad) external note {
        gem[ilk][src] -= wad;
        gem[ilk][dst] += wad;
    }

    function move(address src, address dst, uint256 rad) external note {
        dai[src] -= rad;
        dai[dst] += rad;
    }

    function hope(address usr) external note {
        can[msg.sender][usr] = 1;
    }

    function suck(address u, address v, uint256 rad) external note {
        sin[u] += rad;
        dai[v] += rad;
        vice += rad;
        debt += rad;
    }

    function frob(bytes32 i, address u, address v, address w, int256 dink, int256 dart) external note {
        Urn storage urn = urns[i][u];
        Ilk storage ilk = ilks[i];
        require(ilk.rate != 0, "Vat/ilk-not-init");
        urn.ink = plus(urn.ink, dink);
        urn.art = plus(urn.art, dart);
        ilk.Art = plus(ilk.Art, dart);
        uint256 tab = ilk.rate * urn.art;
        bool calmer = dart <= 0 && dink >= 0;
        require(dart <= 0 || ilk.Art * ilk.rate <= ilk.line, "Vat/ceiling-exceeded");
        require(calmer || tab <= urn.ink * ilk.spot, "Vat/not-safe");
        require(calmer || may(u), "Vat/not-allowed-u");
        require(dink <= 0 || may(v), "Vat/not-allowed-v");
        require(dart >= 0 || may(w), "Vat/not-allowed-w");
        require(urn.art == 0 || tab >= ilk.dust, "Vat/dust");
        gem[i][v] = plus(gem[i][v], -dink);
        dai[w] = plus(dai[w], int256(ilk.rate) * dart);
        debt = plus(debt, int256(ilk.rate) * dart);
    }

    function fork(bytes32 ilk, address src, address dst, int256 dink, int256 dart) external note {
        (Urn storage u, Urn storage v, Ilk storage i) = (urns[ilk][src], urns[ilk][dst], ilks[ilk]);
        (u.ink, u.art) = (plus(u.ink, -dink), plus(u.art, -dart));
        (v.ink, v.art) = (plus(v.ink, dink), plus(v.art, dart));
        require(may(src) && may(dst), "Vat/not-allowed");
        require(u.art * i.rate <= u.ink * i.spot, "Vat/not-safe-src");
        require(v.art * i.rate <= v.ink * i.spot, "Vat/not-safe-dst");
        require(u.art == 0 || u.art * i.rate >= i.dust, "Vat/dust-src");
        require(v.art == 0 || v.art * i.rate >= i.dust, "Vat/dust-dst");
    }

    function grab(bytes32 i, address u, address v, address w, int256 dink, int256 dart) external note {
        Urn storage urn = urns[i][u];
        (urn.ink, urn.art) = (plus(urn.ink, dink), plus(urn.art, dart));
        ilks[i].Art = plus(ilks[i].Art, dart);
        gem[i][v] = plus(gem[i][v], -dink);
        sin[w] = plus(sin[w], -int256(ilks[i].rate) * dart);
        vice = plus(vice, -int256(ilks[i].rate) * dart);
    }

    function fold(bytes32 i, address u, int256 rate) external note {
        ilks[i].rate = plus(ilks[i].rate, rate);
        dai[u] = plus(dai[u], int256(ilks[i].Art) * rate);
        debt = plus(debt, int256(ilks[i].Art) * rate);
    }

    function may(address whose) private view returns (bool) {
        return whose == msg.sender || can[whose][msg.sender] == 1;
    }

    function plus(uint256 x, int256 y) private pure returns (uint256) {
        return y < 0 ? x - uint256(-y) : x + uint256(y);
    }

    function word(bytes calldata given, uint256 at) private pure returns (bytes32 found) {
        assembly {
            found := calldataload(add(given.offset, at))
        }
    }
}

interface IPip {
    function peek() external returns (bytes32, bool);
}

/// Imitates the spotter: a price over the liquidation ratio, put into the vat.
contract SpotterStandIn {
    struct Ilk {
        address pip;
        uint256 mat;
    }

    VatStandIn public immutable vat;
    uint256 public par = 1e27;
    mapping(bytes32 => Ilk) public ilks;

    constructor(VatStandIn vat_) {
        vat = vat_;
    }

    function set(bytes32 ilk, address pip, uint256 mat) external {
        ilks[ilk] = Ilk(pip, mat);
    }

    function poke(bytes32 ilk) external {
        (bytes32 val, bool has) = IPip(ilks[ilk].pip).peek();
        uint256 price = (uint256(val) * 1e9 * 1e27) / par;
        vat.file(ilk, "spot", has ? (price * 1e27) / ilks[ilk].mat : 0);
    }
}

/// Imitates the jug: a fee for every second, compounded when somebody asks for it.
contract JugStandIn {
    struct Ilk {
        uint256 duty;
        uint256 rho;
    }

    uint256 private constant RAY = 1e27;
    VatStandIn public immutable vat;
    address public immutable vow;
    uint256 public base;
    mapping(bytes32 => Ilk) public ilks;

    constructor(VatStandIn vat_, address vow_, uint256 base_) {
        (vat, vow, base) = (vat_, vow_, base_);
    }

    function init(bytes32 ilk, uint256 duty) external {
        ilks[ilk] = Ilk(duty, block.timestamp);
    }

    function drip(bytes32 ilk) external returns (uint256 rate) {
        (, uint256 before, , , ) = vat.ilks(ilk);
        rate = (power(base + ilks[ilk].duty, block.timestamp - ilks[ilk].rho) * before) / RAY;
        vat.fold(ilk, vow, int256(rate) - int256(before));
        ilks[ilk].rho = block.timestamp;
    }

    /// By squaring; each product is rounded half up.
    function power(uint256 x, uint256 n) private pure returns (uint256 z) {
        z = n % 2 == 1 ? x : RAY;
        for (n /= 2; n > 0; n /= 2) {
            x = (x * x + RAY / 2) / RAY;
            if (n % 2 == 1) z = (z * x + RAY / 2) / RAY;
        }
    }
}

/// Imitates the dog: a vault below its price goes to auction, as far as the limits leave room.
contract DogStandIn {
    struct Ilk {
        address clip;
        uint256 chop;
        uint256 hole;
        uint256 dirt;
    }

    VatStandIn public immutable vat;
    address public immutable vow;
    uint256 public live = 1;
    uint256 public Hole;
    uint256 public Dirt;
    mapping(bytes32 => Ilk) public ilks;

    event Bark(
        bytes32 indexed ilk,
        address indexed urn,
        uint256 ink,
        uint256 art,
        uint256 due,
        address clip,
        uint256 indexed id
    );

    constructor(VatStandIn vat_, address vow_, uint256 hole) {
        (vat, vow, Hole) = (vat_, vow_, hole);
    }

    function set(bytes32 ilk, address clip, uint256 chop, uint256 hole) external {
        ilks[ilk] = Ilk(clip, chop, hole, ilks[ilk].dirt);
    }

    function bark(bytes32 ilk, address urn, address) external returns (uint256 id) {
        Ilk storage milk = ilks[ilk];
        (uint256 ink, uint256 art) = vat.urns(ilk, urn);
        (, uint256 rate, uint256 spot, , uint256 dust) = vat.ilks(ilk);
        require(live == 1, "Dog/not-live");
        require(spot > 0 && ink * spot < art * rate, "Dog/not-unsafe");
        require(Hole > Dirt && milk.hole > milk.dirt, "Dog/liquidation-limit-hit");
        uint256 dart = closed(milk, art, rate, dust);
        uint256 dink = (ink * dart) / art;
        require(dink > 0, "Dog/null-auction");
        vat.grab(ilk, urn, milk.clip, vow, -int256(dink), -int256(dart));
        uint256 tab = (dart * rate * milk.chop) / 1e18;
        Dirt += tab;
        milk.dirt += tab;
        id = ClipperStandIn(milk.clip).kick(tab, dink, urn);
        emit Bark(ilk, urn, dink, dart, dart * rate, milk.clip, id);
    }

    function digs(bytes32 ilk, uint256 rad) external {
        Dirt -= rad;
        ilks[ilk].dirt -= rad;
    }

    function closed(Ilk storage milk, uint256 art, uint256 rate, uint256 dust) private view returns (uint256 dart) {
        uint256 room = Hole - Dirt < milk.hole - milk.dirt ? Hole - Dirt : milk.hole - milk.dirt;
        dart = (room * 1e18) / rate / milk.chop;
        if (dart >= art) return art;
        if ((art - dart) * rate < dust) return art; // no dust is left behind
        require(dart * rate >= dust, "Dog/dusty-auction-from-partial-liquidation");
    }
}

/// Imitates a clipper as far as an auction whose price is the oracle's and does not fall: no time passes in it, and `top`
/// of a sale is 0.
contract ClipperStandIn {
    struct Sale {
        uint256 pos;
        uint256 tab;
        uint256 lot;
        address usr;
        uint96 tic;
        uint256 top;
    }

    VatStandIn private immutable vat;
    SpotterStandIn private immutable spotter;
    DogStandIn private immutable dog;
    bytes32 public immutable ilk;
    uint256 public stopped;
    uint256 public kicks;
    uint256[] public active;
    mapping(uint256 => Sale) public sales;

    event Take(uint256 indexed id, uint256 price, uint256 owe, uint256 slice, address indexed usr);

    constructor(VatStandIn vat_, SpotterStandIn spotter_, DogStandIn dog_, bytes32 ilk_) {
        (vat, spotter, dog, ilk) = (vat_, spotter_, dog_, ilk_);
    }

    function stop(uint256 level) external {
        stopped = level;
    }

    function kick(uint256 tab, uint256 lot, address usr) external returns (uint256 id) {
        require(stopped < 1, "Clipper/stopped-incorrect");
        id = ++kicks;
        sales[id] = Sale(active.length, tab, lot, usr, uint96(block.timestamp), 0);
        active.push(id);
    }

    function count() external view returns (uint256) {
        return active.length;
    }

    /// Buy until the tab is raised or nothing is left; the rest goes back to the vault's owner.
    function take(uint256 id) external {
        Sale memory sale = sales[id];
        (address pip, ) = spotter.ilks(ilk);
        (bytes32 val, ) = IPip(pip).peek();
        uint256 price = (uint256(val) * 1e9 * 1e27) / spotter.par();
        uint256 slice = sale.lot;
        uint256 owe = slice * price;
        if (owe > sale.tab) {
            owe = sale.tab;
            slice = owe / price;
        }
        vat.flux(ilk, address(this), msg.sender, slice);
        vat.flux(ilk, address(this), sale.usr, sale.lot - slice);
        vat.move(msg.sender, dog.vow(), owe);
        dog.digs(ilk, sale.tab);
        uint256 last = active[active.length - 1];
        (active[sale.pos], sales[last].pos) = (last, sale.pos);
        active.pop();
        delete sales[id];
        emit Take(id, price, owe, slice, sale.usr);
    }
}

/// Imitates a vault that the CDP manager opens: an address that lets the manager act for it.
contract UrnHandlerStandIn {
    constructor(VatStandIn vat) {
        vat.hope(msg.sender);
    }
}

/// Imitates the CDP manager: vaults by number, each with an owner.
contract CdpManagerStandIn {
    VatStandIn public immutable vat;
    uint256 public cdpi;
    mapping(uint256 => address) public urns;
    mapping(uint256 => address) public owns;
    mapping(uint256 => bytes32) public ilks;

    constructor(VatStandIn vat_) {
        vat = vat_;
    }

    function open(bytes32 ilk, address usr) external returns (uint256 cdp) {
        cdp = ++cdpi;
        urns[cdp] = address(new UrnHandlerStandIn(vat));
        (owns[cdp], ilks[cdp]) = (usr, ilk);
    }

    function give(uint256 cdp, address dst) external {
        require(owns[cdp] == msg.sender, "cdp-not-allowed");
        owns[cdp] = dst;
    }

    function frob(uint256 cdp, int256 dink, int256 dart) external {
        require(owns[cdp] == msg.sender, "cdp-not-allowed");
        vat.frob(ilks[cdp], urns[cdp], urns[cdp], urns[cdp], dink, dart);
    }
}

/// Imitates the ilk registry: the token of each ilk.
contract IlkRegistryStandIn {
    mapping(bytes32 => address) public gem;

    function put(bytes32 ilk, address token) external {
        gem[ilk] = token;
    }
}

interface IAnswer {
    function latestAnswer() external view returns (int256);
}

/// Imitates an OSM: a source, and a price that only those who are kissed may see. It does not imitate the hour's delay.
contract OsmStandIn {
    address public immutable src;
    mapping(address => bool) private bud;

    constructor(address source) {
        src = source;
    }

    function kiss(address usr) external {
        bud[usr] = true;
    }

    function peek() external view returns (bytes32, bool) {
        require(bud[msg.sender], "OSM/contract-not-whitelisted");
        int256 answer = IAnswer(src).latestAnswer();
        return (bytes32(uint256(answer) * 1e10), answer > 0);
    }
}

/// Imitates a DSValue: a number that its owner pokes.
contract DSValueStandIn {
    address public owner;
    address public authority;
    bytes32 private value;

    constructor(bytes32 value_) {
        (owner, value) = (msg.sender, value_);
    }

    function peek() external view returns (bytes32, bool) {
        return (value, value != 0);
    }

    function poke(bytes32 value_) external {
        value = value_;
    }
}
