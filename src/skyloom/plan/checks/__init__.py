"""The checks of a project: a list of small functions, each judging the whole and speaking to the user."""

from skyloom.plan.checks.all import problems
from skyloom.plan.checks.problem import Problem

__all__ = ["Problem", "problems"]
