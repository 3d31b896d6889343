from skyloom.governance import audit_lines, create_key, revoke_key, verify_audit


def test_a_line_says_when_who_what(metadata):
    _, record = create_key(metadata, ["read"], actor="ann@lab", now_ms=5)
    (line,) = audit_lines(metadata)
    prefix = record.digest.prefix
    assert str(line) == f"     1  2013-04-01T04:00:00.000Z  ann@lab  create key  key {prefix} (version 1)"


def test_lines_can_be_narrowed_and_deletions_are_named(metadata):
    _, first = create_key(metadata, ["read"], actor="ann", now_ms=5)
    create_key(metadata, ["read"], actor="ann", now_ms=5)
    revoke_key(metadata, first.digest.prefix, actor="ben", now_ms=6)
    with metadata.transaction("ann") as transaction:
        transaction.put("note", "x", b"{}", action="write")
        transaction.delete("note", "x", action="erase")
    assert [line.action for line in audit_lines(metadata, "key", first.digest.prefix)] == ["create key", "revoke key"]
    assert audit_lines(metadata, "note")[-1].subject == "note x (deleted)"


def test_no_name_can_forge_a_line(metadata):
    with metadata.transaction("eve\n     9  2013-04-01T04:00:00.000Z  ann\x1b[2K\u2028") as transaction:
        transaction.put("note", "x\r\n", b"{}", action="write\x00")
    (line,) = audit_lines(metadata)
    assert str(line).isprintable()
    assert r"eve\n     9" in str(line)


def test_the_verdict_names_the_first_line_that_does_not_hold(metadata):
    assert verify_audit(metadata).broken_at is None
    create_key(metadata, ["read"], actor="ann", now_ms=5)
    verdict = verify_audit(metadata)
    assert (verdict.lines, verdict.head, verdict.broken_at) == (1, "link1", None)
    metadata.broken = 1
    assert verify_audit(metadata).broken_at == 1
