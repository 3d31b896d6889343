"""From declarations to definitions: checks, compilation, the graph, what would change and what that means."""

from skyloom.plan.checks import Problem, problems
from skyloom.plan.compile import compile_project
from skyloom.plan.diff import Change, diff
from skyloom.plan.explain import explain
from skyloom.plan.graph import Edge, Graph, Node, graph_of, order

__all__ = [
    "Change",
    "Edge",
    "Graph",
    "Node",
    "Problem",
    "compile_project",
    "diff",
    "explain",
    "graph_of",
    "order",
    "problems",
]
