"""JSON that carries the sha256 of its own contents, so that an edit by hand shows."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY = "sha256"


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its digest added."""
    return {**content, KEY: _digest(dict(content))}


def check_signed(plain: Any) -> dict[str, Any]:
    """The content without its digest. Raises ValueError where they do not fit together."""
    if not isinstance(plain, dict) or KEY not in plain:
        raise ValueError(f"no {KEY} of its contents in it")
    content = {key: value for key, value in plain.items() if key != KEY}
    if plain[KEY] != _digest(content):
        raise ValueError(f"it was altered: its {KEY} is not that of its contents")
    return content


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, indent=2) + "\n"
    return hashlib.sha256(text.encode()).hexdigest()
