"""Writes a small country database in MaxMind's format (https://maxmind.github.io/MaxMind-DB/)."""
import ipaddress
import os
import time


def _string(text):
    data = text.encode()
    assert len(data) < 29
    return bytes([0x40 | len(data)]) + data


def _number(value, kind, size):
    head = bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
    return head + value.to_bytes(size, "big")


def _map(entries):
    return bytes([0xE0 | len(entries)]) + b"".join(_string(key) + value for key, value in entries.items())


def _insert(nodes, network, leaf):
    address = int(network.network_address)  # IPv4 lives at ::/96
    length = network.prefixlen + (96 if network.version == 4 else 0)
    at = 0
    for depth in range(length):
        side = address >> (127 - depth) & 1
        if depth == length - 1:
            nodes[at][side] = leaf
        else:
            if not isinstance(nodes[at][side], int):
                nodes.append([nodes[at][side], nodes[at][side]])
                nodes[at][side] = len(nodes) - 1
            at = nodes[at][side]


def database(countries, built=None):
    """`countries`: {"192.0.2.0/24": "DE", ...}, wider networks first. The bytes of a database."""
    nodes, data, offsets = [[None, None]], b"", {}
    for network, country in countries.items():
        if country not in offsets:
            offsets[country] = len(data)
            data += _map({"country": _map({"iso_code": _string(country)})})
        _insert(nodes, ipaddress.ip_network(network), (country,))
    tree = b""
    for records in nodes:
        for record in records:
            value = len(nodes) if record is None else record
            if isinstance(record, tuple):
                value = len(nodes) + 16 + offsets[record[0]]
            tree += value.to_bytes(3, "big")
    metadata = _map({"binary_format_major_version": _number(2, 5, 2), "binary_format_minor_version": _number(0, 5, 2),
                     "build_epoch": _number(int(time.time() if built is None else built), 9, 8),
                     "database_type": _string("Test-Country"), "description": _map({}),
                     "ip_version": _number(6, 5, 2), "languages": bytes([0, 4]),
                     "node_count": _number(len(nodes), 6, 4), "record_size": _number(24, 5, 2)})
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + metadata


def write(path, countries, built=None):
    """Replaces the file in one step, as update programs do."""
    new = path.with_suffix(".new")
    new.write_bytes(database(countries, built))
    os.replace(new, path)
