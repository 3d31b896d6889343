"""Who may do what, and what was done: API keys, private files, the audit log."""

from skyloom.governance.access import SCOPES, Forbidden, Keyring, Unauthenticated, check, mint
from skyloom.governance.audit import AuditLine, AuditVerdict, audit_lines, verify_audit
from skyloom.governance.keys import KeyRecord, active_keys, create_key, list_keys, revoke_key
from skyloom.governance.private import read_private, write_private

__all__ = [
    "SCOPES",
    "AuditLine",
    "AuditVerdict",
    "Forbidden",
    "KeyRecord",
    "Keyring",
    "Unauthenticated",
    "active_keys",
    "audit_lines",
    "check",
    "create_key",
    "list_keys",
    "mint",
    "read_private",
    "revoke_key",
    "verify_audit",
    "write_private",
]
