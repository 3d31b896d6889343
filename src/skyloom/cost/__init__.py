"""What it costs, and whether it may."""

from skyloom.cost.budget import admit
from skyloom.cost.meter import cost_of, estimate, month_of, spend_by_month, spent

__all__ = ["admit", "cost_of", "estimate", "month_of", "spend_by_month", "spent"]
