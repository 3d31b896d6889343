"""What a user of SageMaker's runtime does: ``python boto3_client.py URL FLIGHTS``; prints what came back as JSON."""

import json
import sys

import boto3
from botocore.config import Config

url, flights = sys.argv[1], json.loads(sys.argv[2])
runtime = boto3.client(
    "sagemaker-runtime",
    endpoint_url=url,
    region_name="eu-west-1",
    aws_access_key_id="a",
    aws_secret_access_key="b",
    config=Config(retries={"total_max_attempts": 1}),
)


def invoke(body: str, **options: str) -> dict:
    answer = runtime.invoke_endpoint(EndpointName="flights", Body=body.encode(), **options)
    told = {name: answer.get(name) for name in ("ContentType", "CustomAttributes")}
    return {**told, "body": answer["Body"].read().decode()}


csv = "\n".join(",".join(str(value).lower() if value is False else str(value) for value in row.values()) for row in flights)
document = json.dumps({"instances": flights})
done = {
    "json": invoke(document, ContentType="application/json"),
    "csv": invoke(csv, ContentType="text/csv", Accept="text/csv"),
    "attributes": invoke(document, CustomAttributes="trace=1;of=me", InferenceId="order-7"),
    "other model": invoke(document, TargetModel="other.tar.gz"),
}
try:
    invoke("{", ContentType="application/json")
except runtime.exceptions.ModelError as error:
    done["error"] = {name: error.response[name] for name in ("OriginalStatusCode", "OriginalMessage")}
sys.stdout.write(json.dumps(done))
