"""Whether an address is on the open internet: the one answer for all that we dial for others.

The import of a repository, the egress of a sandbox and the search for a package index ask here.
"""

import ipaddress

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = (
    # NAT64 of somebody's own network (RFC 8215): where in it the IPv4 address lies is not known.
    ipaddress.ip_network("64:ff9b:1::/48"),
    # IPv4-compatible (RFC 4291, given up), with the loopback and the unspecified address.
    ipaddress.ip_network("::/96"),
)


def is_public(address: IPAddress) -> bool:
    """Whether the address, and any other that it wraps, is on the open internet.

    IPv6 wraps IPv4 by mapping, 6to4, Teredo and NAT64; each leads where the inner one leads.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _REFUSED):
            return False
        wrapped = _wrapped(address)
        if wrapped:
            return all(is_public(inner) for inner in wrapped)
        if address.scope_id is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address, ...]:
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()
