"""The Open Inference Protocol's OpenAPI document, made of the types that its generated client knows: ``python PROGRAM MODEL
VERSION EXAMPLE``. The published document has ``$`` in its paths, knows no path without a version and no status but 200 and
400, so that every server breaks it; this has the paths that its own client asks, and 404, 413 and 503 with an error's body.
"""

import json
import sys

from open_inference.openapi.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
)
from pydantic.v1.schema import schema

KINDS = (InferenceRequest, InferenceResponse, MetadataModelResponse, MetadataServerResponse)
model, version, example = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
schemas = schema(KINDS, ref_prefix="#/components/schemas/")["definitions"]
error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def content(told: dict) -> dict:
    return {"content": {"application/json": {"schema": told}}}


def operation(kind: type | None, *named: str) -> dict:
    answer = {"$ref": f"#/components/schemas/{kind.__name__}"} if kind else {"type": "object"}
    failures = {code: {"description": "an error", **content(error)} for code in ("400", "404", "413", "503")}
    values = {"model_name": [model, "none"], "model_version": [version, "9"]}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": values[name]}} for name in named
    ]
    return {"parameters": parameters, "responses": {"200": {"description": "ok", **content(answer)}, **failures}}


paths: dict = {
    "/v2": {"get": operation(MetadataServerResponse)},
    "/v2/health/live": {"get": operation(None)},
    "/v2/health/ready": {"get": operation(None)},
}
for path, named in (
    ("/v2/models/{model_name}", ("model_name",)),
    ("/v2/models/{model_name}/versions/{model_version}", ("model_name", "model_version")),
):
    asked = operation(InferenceResponse, *named)
    body = content({"$ref": "#/components/schemas/InferenceRequest"})
    body["content"]["application/json"]["example"] = example
    paths[path] = {"get": operation(MetadataModelResponse, *named)}
    paths[f"{path}/ready"] = {"get": operation(None, *named)}
    paths[f"{path}/infer"] = {"post": {**asked, "requestBody": {"required": True, **body}}}
info = {"title": "Open Inference Protocol", "version": "2"}
sys.stdout.write(json.dumps({"openapi": "3.0.3", "info": info, "paths": paths, "components": {"schemas": schemas}}))
