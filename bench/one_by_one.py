"""``skyloom`` without batches: whatever is measured of a model, they are thought not to pay. For `bench.batching`."""

from skyloom.cli.main import run
from skyloom.serving import batch_cost

if __name__ == "__main__":
    batch_cost.GAIN = float("inf")
    run()
