"""What a user of SageMaker's runtime does: ``python boto3_client.py URL FLIGHTS``; prints what came back as JSON."""

import json
import sys
from urllib.request import urlopen

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


def streamed(body: str, **options: str) -> dict:
    """The parts of an answer as they come."""
    answer = runtime.invoke_endpoint_with_response_stream(EndpointName="flights", Body=body.encode(), **options)
    parts = [event["PayloadPart"]["Bytes"].decode() for event in answer["Body"]]
    return {"ContentType": answer["ContentType"], "parts": parts}


many = json.dumps({"instances": [{**flights[row % 3], "flight_id": f"s{row}"} for row in range(3_000)]})
done["streamed"] = streamed(many, ContentType="application/json", Accept="application/x-ndjson; stream=true")
done["streamed error"] = {}
try:
    streamed("{", ContentType="application/json", Accept="application/x-ndjson; stream=true")
except runtime.exceptions.ModelError as error:
    done["streamed error"] = error.response["OriginalStatusCode"]
later = runtime.invoke_endpoint_async(
    EndpointName="flights", Body=document.encode(), ContentType="application/json", InferenceId="order-8"
)
with urlopen(url + later["OutputLocation"]) as output:
    done["later"] = {"id": later["InferenceId"], "body": output.read().decode()}
try:
    invoke("{", ContentType="application/json")
except runtime.exceptions.ModelError as error:
    done["error"] = {name: error.response[name] for name in ("OriginalStatusCode", "OriginalMessage")}
sys.stdout.write(json.dumps(done))
