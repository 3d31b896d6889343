"""What a user of MLflow's scoring client does: ``python mlflow_client.py PORT FLIGHTS``; prints what came back as JSON."""

import json
import sys

import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

port, flights = int(sys.argv[1]), json.loads(sys.argv[2])
client = ScoringServerClient("127.0.0.1", port)
client.wait_server_ready(60)
client.ping()
frame = pd.DataFrame(flights)
moments = frame.assign(scheduled=pd.to_datetime(frame["scheduled"], unit="ms", utc=True))
done = {
    "version": client.get_version(),
    "frame": client.invoke(frame).get_predictions()[0].tolist(),
    "moments": client.invoke(moments).get_predictions()[0].tolist(),
    "arrays": client.invoke(frame.to_numpy()).get_predictions()[0].tolist(),
    "params": client.invoke(frame, params={"outputs": ["score", "label"]}).get_predictions().to_dict("list"),
}
try:
    client.invoke(frame.drop(columns="seats"))
except Exception as error:  # noqa: BLE001  # what the client raises
    done["error"] = str(error)
sys.stdout.write(json.dumps(done))
