"""Every check, in the order in which a project is read."""

from skyloom.plan.checks import events, features, labels, logbooks, loops, models, tables
from skyloom.plan.checks.problem import Check, Problem
from skyloom.spec.project import Project

CHECKS: tuple[Check, ...] = (
    events.one_key,
    events.one_time,
    events.names_by_more_than_case,
    events.names_are_free,
    features.columns_exist,
    features.entities_are_names,
    features.aggregates_of_numbers,
    features.conditions_hold_or_not,
    features.windows_of_whole_hops,
    features.windows_once,
    tables.entities_are_names,
    tables.tables_have_columns,
    tables.rows_are_found,
    labels.columns_exist,
    labels.joins_the_key,
    labels.value_fits_task,
    labels.outcome_is_no_input,
    models.has_features,
    models.columns_exist,
    models.columns_of_its_requests,
    models.columns_have_names,
    models.expressions_read_something,
    models.columns_can_be_learned,
    models.entities_are_in_requests,
    models.names_once,
    models.names_are_free,
    models.function_takes_x_and_y,
    models.metrics_exist,
    logbooks.columns_exist,
    logbooks.key_and_time_are_kept,
    logbooks.hashes_are_of_texts,
    loops.search_fits_function,
    loops.has_gates,
    loops.gates_name_metrics,
    loops.gates_name_columns,
    loops.gates_have_bounds,
    loops.stages_grow,
)


def problems(project: Project) -> list[Problem]:
    """Everything that is wrong with a project, each said once; an empty list when it can be compiled."""
    return list(dict.fromkeys(problem for check in CHECKS for problem in check(project)))
