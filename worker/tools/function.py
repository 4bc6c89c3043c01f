"""A typed Python function as a tool: its schema for the model, and a call with the model's arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

# A result longer than this is cut: it is sent to the model with every further call, and kept with the message.
LONGEST_RESULT = 50_000


class ToolError(Exception):
    """A call cannot be carried out. The model and every reader of the answer see the message."""


class FunctionTool:
    """A function under a name. Its annotations are the schema, its docstring tells the model what it is for."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Raises TypeError for a function whose arguments have no types, or no names."""
        self.name = name
        self._function = function
        self._arguments = _model(name, function)

    @property
    def schema(self) -> dict[str, Any]:
        """As chat completions take it."""
        parameters = self._arguments.model_json_schema()
        parameters.pop("title", None)
        description = inspect.getdoc(self._function) or ""
        function = {"name": self.name, "description": description, "parameters": parameters}
        return {"type": "function", "function": function}

    def call(self, arguments: str) -> str:
        """Run it with arguments as JSON text; the result as text. Raises ToolError, and whatever the function does."""
        try:
            given = self._arguments.model_validate_json(arguments or "{}")
        except ValidationError as error:
            raise ToolError(f"The arguments are wrong. {_complaints(error)}") from None
        values = {name: getattr(given, name) for name in type(given).model_fields}
        return _storable(self._function(**values))


def _model(name: str, function: Callable[..., Any]) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for argument in inspect.signature(function).parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD, argument.POSITIONAL_ONLY):
            raise TypeError(f"the tool {name} has an argument without a name: {argument}")
        if argument.name not in hints:
            raise TypeError(f"the tool {name} has an argument without a type: {argument.name}")
        default = ... if argument.default is argument.empty else argument.default
        fields[argument.name] = (hints[argument.name], default)
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def _complaints(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, c['loc'])) or 'all'}: {c['msg']}" for c in error.errors(include_url=False))


def _storable(result: Any) -> str:
    """Text as it is, anything else as JSON; without what no store can keep."""
    text = result if isinstance(result, str) else to_json(result).decode()
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    return text if len(text) <= LONGEST_RESULT else f"{text[:LONGEST_RESULT]}… (cut)"
