"""Reads back every object of a token with PKCS#11, as anybody with the PIN could. Runs as a process of its own, since
a module is configured by the environment once: python read_token.py LABEL PIN-FILE -> JSON."""
import json
import sys

import pkcs11
from pkcs11 import Attribute, ObjectClass

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
FLAGS = ["SENSITIVE", "EXTRACTABLE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "PRIVATE", "TOKEN", "LOCAL", "SIGN", "ENCRYPT",
         "DECRYPT", "WRAP", "UNWRAP", "DERIVE", "MODIFIABLE"]
SECRETS = ["VALUE", "PRIVATE_EXPONENT", "PRIME_1", "PRIME_2"]


def attribute(thing, name):
    try:
        value = thing[getattr(Attribute, name)]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.exceptions.PKCS11Error):
        return None
    return value.hex() if isinstance(value, bytes) else bool(value) if isinstance(value, int) else str(value)


def main(label, pin_file):
    pin = open(pin_file, encoding="utf-8").read().strip().rpartition(":")[2]  # of "user:password" the password
    found = []
    with pkcs11.lib(MODULE).get_token(token_label=label).open(user_pin=pin) as session:
        for thing in session.get_objects():
            kind = thing.object_class
            found.append({"label": thing[Attribute.LABEL], "class": kind.name,
                          "secret": kind in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY),
                          **{name: attribute(thing, name) for name in FLAGS + SECRETS}})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
