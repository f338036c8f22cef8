#!/usr/bin/env python3
"""Writes the cases of this folder with botocore's S3 signer, which nobody here wrote. Run it in an environment that has
botocore; the four examples that AWS publishes are checked against their published signatures.

Each case is a folder:
    request.txt             what is signed: "name: value" lines; "path-hex" where the path is no printable line
    canonical-request.txt   and each later stage's exact text, without a line end at the end
    string-to-sign.txt
    signature.txt
    authorization.txt
"""

import hashlib
import pathlib
import shutil
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

HERE = pathlib.Path(__file__).parent
EMPTY = hashlib.sha256(b"").hexdigest()
AWS = {
    "host": "examplebucket.s3.amazonaws.com",
    "id": "AKIAIOSFODNN7EXAMPLE",
    "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "time": "20130524T000000Z",
    "region": "us-east-1",
}
OURS = {
    "host": "127.0.0.1:17070",
    "id": "AKIDEXAMPLE",
    "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "time": "20261121T235959Z",
    "region": "eu-central-1",
}

# name, settings, method, path, query, headers, payload, published signature
CASES = [
    ("aws-get-object", AWS, "GET", "/test.txt", [], [("range", "bytes=0-9")], b"",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    ("aws-put-object", AWS, "PUT", "/test$file.text", [],
     [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")],
     b"Welcome to Amazon S3.", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    ("aws-get-lifecycle", AWS, "GET", "/", [("lifecycle", "")], [], b"",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    ("aws-list", AWS, "GET", "/", [("max-keys", "2"), ("prefix", "J")], [], b"",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
]


def ours(name, method, path, query=(), headers=(), payload=b""):
    CASES.append((name, OURS, method, path, list(query), list(headers), payload, None))


for name, key in {
    "space": "a b  c",
    "plus": "a+b",
    "equals": "a=b",
    "percent": "a%2Fb%",
    "dot-dot": "../a/./b/../c",
    "double-slash": "/a//b///",
    "punctuation": "!\"#$&'()*,:;<>?@[\\]^`{|}~-._",
    "control": "tab\tnewline\nescape\x1bdelete\x7f",
    "utf8": "Grüße/日本語/😀",
    "utf8-unnormalised": "e\u0301 \u00e9",
    "utf8-1024-bytes": "€" * 341 + "a",
}.items():
    ours("key-" + name, "GET", "/bucket/" + key)
ours("put-metadata", "PUT", "/bucket/k", headers=[
    ("content-type", "text/plain; charset=utf-8"), ("if-none-match", "*"), ("x-amz-meta-a", "  two  blanks  "),
    ("x-amz-meta-empty", ""), ("x-amz-server-side-encryption", "aws:kms")], payload=b"hello")
ours("query-order", "GET", "/bucket", query=[
    ("list-type", "2"), ("prefix", "a b/+=&é%2F"), ("continuation-token", "1/x+y=="), ("encoding-type", "url"),
    ("a-b", "1"), ("a", "2"), ("A", "3")])
ours("multipart-complete", "POST", "/bucket/k", query=[("uploadId", "VXBsb2FkIElE~._-")],
     headers=[("content-type", "application/xml")], payload=b"<CompleteMultipartUpload/>")


def sign(settings, method, path, query, headers, payload):
    url = f"http://{settings['host']}" + quote(path, safe="/~")
    if query:
        url += "?" + "&".join(quote(n, safe="~") + "=" + quote(v, safe="~") for n, v in query)
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    request.headers["host"] = settings["host"]
    request.headers["x-amz-content-sha256"] = hashlib.sha256(payload).hexdigest()
    request.headers["x-amz-date"] = settings["time"]
    request.context["timestamp"] = settings["time"]
    signer = S3SigV4Auth(Credentials(settings["id"], settings["secret"]), "s3", settings["region"])
    canonical = signer.canonical_request(request)
    to_sign = signer.string_to_sign(request, canonical)
    signature = signer.signature(to_sign, request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    authorization = (f"AWS4-HMAC-SHA256 Credential={signer.scope(request)},SignedHeaders={names},"
                     f"Signature={signature}")
    return canonical, to_sign, signature, authorization


def request_text(settings, method, path, query, headers, payload):
    lines = [f"method: {method}"]
    lines.append(f"path: {path}" if path.isprintable() else f"path-hex: {path.encode().hex()}")
    lines += [f"query: {n}={v}" for n, v in query]
    lines += [f"header: {n}:{v}" for n, v in headers]
    lines.append(f"header: host:{settings['host']}")
    lines.append(f"header: x-amz-content-sha256:{hashlib.sha256(payload).hexdigest()}")
    lines.append(f"header: x-amz-date:{settings['time']}")
    lines.append(f"payload-sha256: {hashlib.sha256(payload).hexdigest()}")
    lines += [f"{n}: {settings[n]}" for n in ("time", "region", "id", "secret")]
    return "\n".join(lines) + "\n"


def main():
    for old in HERE.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    for name, settings, method, path, query, headers, payload, published in CASES:
        canonical, to_sign, signature, authorization = sign(settings, method, path, query, headers, payload)
        if published and signature != published:
            raise SystemExit(f"{name}: {signature} is not the published {published}")
        folder = HERE / name
        folder.mkdir()
        for file, text in {
            "request.txt": request_text(settings, method, path, query, headers, payload),
            "canonical-request.txt": canonical,
            "string-to-sign.txt": to_sign,
            "signature.txt": signature,
            "authorization.txt": authorization,
        }.items():
            (folder / file).write_bytes(text.encode())


main()
