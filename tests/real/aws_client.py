"""What an agent does with boto3, unmodified, and with requests that it signs itself: each step of the command line prints
one line of JSON. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, endpoints are those of AWS.

    bucket, put, get, list, multipart, presigned, presigned-put, chunks, chunks-trailer, table, identity, plain,
    other-region, other-service
"""

import base64
import hashlib
import hmac
import json
import sys
import urllib.request
import zlib

import boto3
import botocore.exceptions
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

REGION = "eu-west-1"
SMALL = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4")
PLAIN = Config(retries={"total_max_attempts": 1})
S3 = f"https://s3.{REGION}.amazonaws.com"
NAME = "a b/$c+(1).txt"
EMPTY = hashlib.sha256(b"").hexdigest()
CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def client(service, region=REGION):
    return boto3.client(service, region_name=region, config=SMALL if service == "s3" else PLAIN)


def bucket():
    client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": REGION})


def put():
    client("s3").put_object(Bucket="bucket", Key=NAME, Body=b"hello " * 1000, Metadata={"note": "two  spaces"})


def get():
    return len(client("s3").get_object(Bucket="bucket", Key=NAME)["Body"].read())


def list_objects():
    found = client("s3").list_objects_v2(Bucket="bucket", Prefix="a b/")
    return [entry["Key"] for entry in found["Contents"]]


def multipart():
    s3 = client("s3")
    upload = s3.create_multipart_upload(Bucket="bucket", Key="big")["UploadId"]
    parts = []
    for number, size in ((1, 5 * 1024 * 1024), (2, 100)):
        part = s3.upload_part(Bucket="bucket", Key="big", UploadId=upload, PartNumber=number, Body=b"x" * size)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket="bucket", Key="big", UploadId=upload, MultipartUpload={"Parts": parts})
    return s3.head_object(Bucket="bucket", Key="big")["ContentLength"]


def fetch(url, data=None, method="GET", headers=None):
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def presigned():
    url = client("s3").generate_presigned_url("get_object", {"Bucket": "bucket", "Key": NAME}, ExpiresIn=600)
    return len(fetch(url))


def presigned_put():
    url = client("s3").generate_presigned_url("put_object", {"Bucket": "bucket", "Key": "by-url"}, ExpiresIn=600)
    fetch(url, b"by url", "PUT", {"content-type": ""})
    return client("s3").get_object(Bucket="bucket", Key="by-url")["Body"].read().decode()


def chunked(trailer):
    """Uploads as the SDKs of Java and Rust do: in signed chunks. botocore signs the head, the chain is made here."""
    keys = boto3.Session().get_credentials()
    word = CHUNKED + ("-TRAILER" if trailer else "")
    parts = [b"a" * 65536, b"b" * 1000]
    checksum = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    headers = {
        "x-amz-content-sha256": word,
        "x-amz-decoded-content-length": str(sum(map(len, parts))),
        "content-encoding": "aws-chunked",
    }
    if trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    request = AWSRequest("PUT", f"{S3}/bucket/{word}", headers=headers)
    request.context["payload_signing_enabled"] = False
    signer = S3SigV4Auth(keys, "s3", REGION)
    signer.payload = lambda _request: word
    signer.add_auth(request)
    before = request.headers["authorization"].partition("Signature=")[2]
    scope = request.headers["authorization"].partition("Credential=")[2].partition(",")[0].split("/")[1:]
    stamp = request.headers["x-amz-date"] + "\n" + "/".join(scope)
    key = ("AWS4" + keys.secret_key).encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    body = b""
    for part in [*parts, b""]:
        text = "\n".join([CHUNKED.replace("STREAMING-", ""), stamp, before, EMPTY, hashlib.sha256(part).hexdigest()])
        before = hmac.new(key, text.encode(), "sha256").hexdigest()
        body += f"{len(part):x};chunk-signature={before}\r\n".encode() + part + (b"\r\n" if part else b"")
    if trailer:
        body += f"x-amz-checksum-crc32:{checksum}\r\nx-amz-trailer-signature:{'0' * 64}\r\n".encode()
    body += b"\r\n"
    headers = {**dict(request.headers.items()), "x-amz-content-sha256": word}
    fetch(request.url, body, "PUT", headers)
    return client("s3").head_object(Bucket="bucket", Key=word)["ContentLength"]


def table():
    dynamo = client("dynamodb")
    key = {"AttributeName": "id", "KeyType": "HASH"}
    kind = {"AttributeName": "id", "AttributeType": "S"}
    dynamo.create_table(TableName="t", KeySchema=[key], AttributeDefinitions=[kind], BillingMode="PAY_PER_REQUEST")
    dynamo.put_item(TableName="t", Item={"id": {"S": "1"}, "text": {"S": "hello"}})
    return dynamo.get_item(TableName="t", Key={"id": {"S": "1"}})["Item"]["text"]["S"]


def identity():
    return client("sts").get_caller_identity()["Account"]


def plain():
    """Without any signature of its own."""
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    form = {"content-type": "application/x-www-form-urlencoded"}
    text = fetch(f"https://sts.{REGION}.amazonaws.com/", body, "POST", form)
    return b"<Account>" in text


def other_region():
    return boto3.client("dynamodb", region_name="us-west-2", endpoint_url=f"https://dynamodb.{REGION}.amazonaws.com", config=PLAIN).list_tables()


def other_service():
    return boto3.client("sqs", region_name=REGION, endpoint_url=f"https://dynamodb.{REGION}.amazonaws.com", config=PLAIN).list_queues()


STEPS = {
    "bucket": bucket,
    "put": put,
    "get": get,
    "list": list_objects,
    "multipart": multipart,
    "presigned": presigned,
    "presigned-put": presigned_put,
    "chunks": lambda: chunked(False),
    "chunks-trailer": lambda: chunked(True),
    "table": table,
    "identity": identity,
    "plain": plain,
    "other-region": other_region,
    "other-service": other_service,
}

for step in sys.argv[1:]:
    outcome = {"step": step}
    try:
        outcome["found"] = STEPS[step]()
    except botocore.exceptions.ClientError as error:
        outcome["status"] = error.response["ResponseMetadata"]["HTTPStatusCode"]
        outcome["error"] = str(error)
    except urllib.error.HTTPError as error:
        outcome["status"] = error.code
        outcome["error"] = error.read().decode()
    print(json.dumps(outcome), flush=True)
