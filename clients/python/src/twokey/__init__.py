"""Client of twokey: S3 objects that move only when two keys have signed.

A vendor's backend authorizes, a data client uses what it was given:

    from twokey import Gatekeeper, HolderKey, Tls, Vendor

    vendor = Vendor("vendor:7401", Tls(ca="ca.pem", certificate="backend.pem", key="backend.key"))
    made = vendor.authorize("GET", "scans", "radiology/7.dcm", gatekeeper="clinic-gatekeeper", subject="dr.lee")

    gatekeeper = Gatekeeper("gatekeeper:7402", Tls(ca="ca.pem"))
    gatekeeper.fetch_file(made.envelope, "7.dcm")

`twokey.boto3` has drop-in replacements for boto3's transfers."""
from twokey.channel import Tls
from twokey.envelope import digest, envelope_from_json, envelope_to_json, transaction_of
from twokey.errors import (AlreadyExists, CallError, DeadlinePassed, IntegrityError, NotFound, Refused, TwokeyError,
                           Unavailable)
from twokey.gatekeeper import Entry, Fetched, Gatekeeper, Listing, Removed, Stored
from twokey.holder import HolderKey
from twokey.receipt import check_receipt
from twokey.retry import Retry
from twokey.vendor import Authorized, Vendor

__version__ = "0.1.0"

__all__ = ["AlreadyExists", "Authorized", "CallError", "DeadlinePassed", "Entry", "Fetched", "Gatekeeper", "HolderKey",
           "IntegrityError", "Listing", "NotFound", "Refused", "Removed", "Retry", "Stored", "Tls", "TwokeyError",
           "Unavailable", "Vendor", "check_receipt", "digest", "envelope_from_json", "envelope_to_json", "transaction_of"]
