"""What a user of the CloudEvents SDK does: ``python cloudevents_client.py URL FLIGHTS``; prints the answers as JSON."""

import json
import sys

import requests
from cloudevents.core.bindings.http import HTTPMessage, from_http, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

url, flights = sys.argv[1], json.loads(sys.argv[2])
form = JSONFormat()
done = {}
for name, write in (("binary", to_binary), ("structured", to_structured)):
    attributes = {"type": "flight.planned", "source": "/flüge", "id": "e 7", "datacontenttype": "application/json"}
    message = write(CloudEvent(attributes, {"instances": flights}), form)
    answer = requests.post(url, data=message.body, headers={**message.headers, "Prefer": "reply"}, timeout=20)
    answer.raise_for_status()
    event = from_http(HTTPMessage(dict(answer.headers), answer.content), form, CloudEvent)
    done[name] = {
        "type": event.get_type(),
        "source": event.get_source(),
        "subject": event.get_subject(),
        "data": event.get_data(),
        "structured": answer.headers["content-type"].startswith("application/cloudevents+json"),
    }
sys.stdout.write(json.dumps(done))
