"""The pieces of a structural schema, and the rules (CEL) that several fields share."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

# How long lists may be: what the API server needs to know before it takes a rule over them.
MANY, FEWER, SOME = 512, 256, 64
NAME = 253  # the longest name of an object


def rule(expression: str, message: str, field: str = "") -> Schema:
    """One validation rule; `field` is where a refusal points when not at the schema itself."""
    found: Schema = {"rule": " ".join(expression.split()), "message": message}
    if field:
        found["fieldPath"] = field
    return found


def checked(schema: Schema, *rules: Schema) -> Schema:
    """The schema with rules."""
    return {**schema, "x-kubernetes-validations": list(rules)}


def text(description: str = "", **more: Any) -> Schema:
    """A string."""
    return _described({"type": "string", **more}, description)


def flag(description: str, **more: Any) -> Schema:
    """A boolean."""
    return _described({"type": "boolean", **more}, description)


def number(description: str, first: int, last: int | None = None, **more: Any) -> Schema:
    """An integer between two bounds."""
    bounds = {"minimum": first} | ({} if last is None else {"maximum": last})
    return _described({"type": "integer", **bounds, **more}, description)


def listed(items: Schema, description: str, *rules: Schema, most: int = MANY) -> Schema:
    """A list of at most `most` items."""
    found = _described({"type": "array", "items": items, "maxItems": most}, description)
    return checked(found, *rules) if rules else found


def fields(properties: Schema, description: str = "", **more: Any) -> Schema:
    """An object with these fields."""
    return _described({"type": "object", "properties": properties, **more}, description)


def _described(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema} if description else schema


DISTINCT = rule(
    "self.all(each, self.exists_one(other, other == each))", "an item stands in the list twice"
)
ADDRESS = rule("self == '' || isIP(self)", "is not an IP address")


def names(description: str, longest: int = NAME) -> Schema:
    """A list of names, none of them twice."""
    most = MANY if longest < NAME else FEWER
    return listed(text(maxLength=longest), description, DISTINCT, most=most)


def address(description: str, *rules: Schema) -> Schema:
    """An IP address, or nothing."""
    return checked(text(description, maxLength=64), ADDRESS, *rules)


_LABEL = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)"
_LABEL_KEY = rf"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}$"


def _requirement() -> Schema:
    """One entry of matchExpressions."""
    values = listed(
        text(maxLength=63, pattern=f"^{_LABEL}?$"),
        "Values to compare with: at least one for In and NotIn, none for the other operators.",
    )
    return checked(
        fields(
            {
                "key": text("Label that the requirement is about.", pattern=_LABEL_KEY),
                "operator": text(
                    "How the label relates to the values.",
                    enum=["In", "NotIn", "Exists", "DoesNotExist"],
                ),
                "values": {**values, "x-kubernetes-list-type": "atomic"},
            },
            "One requirement.",
            required=["key", "operator"],
        ),
        rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need at least one value, Exists and DoesNotExist take none",
            ".values",
        ),
    )


def selector(description: str = "") -> Schema:
    """A label selector (meta/v1), with the rules that the API's own types have in code."""
    expressions = listed(
        _requirement(), "Requirements, all of which an object has to meet.", most=32
    )
    labels = {
        "description": "Labels that an object has to carry with these values.",
        "type": "object",
        "additionalProperties": text(maxLength=63, pattern=f"^{_LABEL}?$"),
        "maxProperties": SOME,
    }
    return fields(
        {
            "matchExpressions": {**expressions, "x-kubernetes-list-type": "atomic"},
            "matchLabels": labels,
        },
        description,
        **{"x-kubernetes-map-type": "atomic"},
    )


def selectors(description: str) -> Schema:
    """Label selectors of which one has to match, none of them twice."""
    return listed(selector(), description, DISTINCT, most=SOME)


def column(name: str, path: str, kind: str = "string", priority: int = 0) -> Schema:
    """A column of `kubectl get`; those with a priority show with `-o wide` only."""
    found: Schema = {"name": name, "type": kind, "jsonPath": path}
    return {**found, "priority": priority} if priority else found


EMPTY = fields({}, "Reserved; nothing is written here.")


def version(
    kind: str, name: str, spec: Schema | None, columns: tuple[Schema, ...] = (), **more: Any
) -> Schema:
    """One version of a kind; `more` are the fields of the version and `status`, `description`.

    `subresource`: whether status is written apart from the rest.
    """
    properties: Schema = {
        "apiVersion": text("Group and version of this representation."),
        "kind": text(f"Always {kind}."),
        "metadata": {"type": "object"},
    }
    if spec is not None:
        properties["spec"] = spec
    properties["status"] = more.pop("status", {"type": "object"})
    apart = more.pop("subresource", True)
    top = fields(properties, more.pop("description"), **more.pop("top", {}))
    found: Schema = {"name": name, "served": True, "storage": True, **more}
    if columns:
        found["additionalPrinterColumns"] = list(columns)
    found["schema"] = {"openAPIV3Schema": top}
    if apart:
        found["subresources"] = {"status": {}}
    return found


def definition(kind: str, plural: str, *versions: Schema) -> Schema:
    """The CustomResourceDefinition of a kind of group metallb.io.

    Where there are several versions MetalLB converts by a webhook; the null takes it away when
    ours is applied over MetalLB's definition.
    """
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.metallb.io",
            "labels": {"app.kubernetes.io/name": "onehop"},
        },
        "spec": {
            "group": "metallb.io",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
            },
            "scope": "Namespaced",
            "conversion": {"strategy": "None", **({"webhook": None} if len(versions) > 1 else {})},
            "versions": list(versions),
        },
    }
