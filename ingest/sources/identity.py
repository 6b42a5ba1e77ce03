"""What makes a model or an SAE the one that it is: its weights, and the configuration that they are run with.

A configuration is stored as canonical JSON, one object whose keys are compared one by one, so that a
difference can be named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping


def canonical(configuration: Mapping[str, object]) -> str:
    """Return a configuration as JSON that is the same for the same values: sorted keys, no spaces."""
    return json.dumps(configuration, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def identity(*parts: str) -> str:
    """Return the digest of weights and configurations together."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def differences(held: str | None, given: str | None) -> list[str]:
    """Return what differs between two configurations, in words; nothing where either is not known.

    Only keys that both have are compared: another version of a library may name more of them.
    """
    if held is None or given is None:
        return []
    before, after = json.loads(held), json.loads(given)
    return [
        f"{key} {_shown(after[key])}, not {_shown(before[key])}"
        for key in sorted(before.keys() & after.keys())
        if before[key] != after[key]
    ]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
