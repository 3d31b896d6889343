from bisect import bisect_left

from skyloom.examples.churn.prepare import tables


def test_the_data_is_the_same_every_time():
    first, second = tables(), tables()
    assert all(first[name].equals(second[name]) for name in first)


def test_ids_are_unique_and_every_renewal_is_decided_in_time():
    made = tables()
    for name, key in (("renewals", "renewal_id"), ("visits", "visit_id"), ("decisions", "renewal_id")):
        ids = made[name].column(key).to_pylist()
        assert len(set(ids)) == len(ids)
    decided = dict(zip(*(made["decisions"].column(name).to_pylist() for name in ("renewal_id", "decided")), strict=True))
    due = dict(zip(*(made["renewals"].column(name).to_pylist() for name in ("renewal_id", "due")), strict=True))
    assert decided.keys() == due.keys()
    assert all(1 <= (decided[id] - due[id]).days < 5 for id in due)


def test_those_who_leave_were_rarer_visitors_before_they_were_asked():
    made = tables()
    visits: dict[str, list[int]] = {}
    for customer, at in zip(*(made["visits"].column(name).to_pylist() for name in ("customer_id", "at")), strict=True):
        visits.setdefault(customer, []).append(at.timestamp())
    cancelled = dict(zip(*(made["decisions"].column(name).to_pylist() for name in ("renewal_id", "cancelled")), strict=True))
    counts: dict[bool, list[int]] = {True: [], False: []}
    for row in made["renewals"].to_pylist():
        mine, due = visits.get(row["customer_id"], []), row["due"].timestamp()
        recent = bisect_left(mine, due) - bisect_left(mine, due - 28 * 86_400)
        counts[cancelled[row["renewal_id"]]].append(recent)
    stay, leave = (sum(values) / len(values) for values in (counts[False], counts[True]))
    assert len(counts[True]) > 400
    assert leave < 0.7 * stay
