"""Holds recorded exchanges against the server's own OpenAPI document (3.1: its schemas are JSON Schema 2020-12).

Attributes may be left out by a client's wish (`attributes=…`), so the schemas cannot require them. Those that are
there otherwise stand in "x-required", which is enforced where nothing was left out.
"""

import json
import re
from urllib.parse import parse_qs, unquote

from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT = "urn:weir:openapi"
PROJECTIONS = {"attributes", "exclude_attributes", "relationship_attributes"}
Whole = extend(Draft202012Validator, {"x-required": Draft202012Validator.VALIDATORS["required"]})


def pointer(*parts):
    return "/" + "/".join(str(p).replace("~", "~0").replace("/", "~1") for p in parts)


class Contract:
    def __init__(self, openapi):
        self.openapi = openapi
        self.registry = Registry().with_resource(DOCUMENT, Resource.from_contents(openapi, DRAFT202012))
        self.hit = set()  # (method, path template)
        # Paths with fewer parameters first: /files/upload_url is not /files/{id}.
        paths = sorted(openapi["paths"], key=lambda path: (path.count("{"), path))
        prefix = (openapi.get("servers") or [{"url": ""}])[0]["url"].rstrip("/")
        prefix = re.sub(r"^https?://[^/]*", "", prefix)
        self.patterns = [(re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(prefix + path))), path) for path in paths]

    def template(self, path):
        return next((template for pattern, template in self.patterns if pattern.fullmatch(path)), None)

    def problem(self, exchange):
        """What is wrong with one exchange, or None."""
        # A slash that was encoded divides nothing.
        template = self.template(unquote(exchange.path)) or self.template(exchange.path)
        method = exchange.method.lower()
        if exchange.status == 200 and method in ("head", "options"):
            # Every route answers these (RFC 9110, 9.3); neither says anything.
            return "a body" if exchange.body else None if template else "a path that is not in the document"
        operation = self.openapi["paths"].get(template, {}).get(method)
        if operation is None:
            # Asking for what does not exist is a test's right; being served is not.
            return None if exchange.status in (404, 405) else "not in the document"
        if exchange.status == 414 and not exchange.body:
            return None  # too large to be read at all: libmicrohttpd refuses it in its own words
        self.hit.add((method, template))
        responses = operation["responses"]
        family = f"{exchange.status // 100}XX"
        status = next((s for s in (str(exchange.status), family, "default") if s in responses), None)
        if status is None:
            return f"status {exchange.status} is not in the document"
        response, at = responses[status], ["paths", template, method, "responses", status]
        if "$ref" in response:
            at = response["$ref"].removeprefix("#/").split("/")
            response = self.openapi
            for part in at:
                response = response[part]
        media = exchange.content_type.split(";")[0].strip()
        content = response.get("content", {})
        if not content:
            return None if not exchange.body else "a body where the document has none"
        if media not in content:
            return f"content type '{media}' is not in the document"
        if media != "application/json":
            return None
        schema = {"$ref": f"{DOCUMENT}#{pointer(*at, 'content', media, 'schema')}"}
        try:
            value = json.loads(exchange.body)
        except ValueError as e:
            return f"not JSON: {e}"
        projected = PROJECTIONS & set(parse_qs(exchange.query, keep_blank_values=True))
        validator = Draft202012Validator if projected else Whole
        errors = validator(schema, registry=self.registry).iter_errors(value)
        found = [f"{e.json_path}: {e.message}" for e in errors]
        return "; ".join(found[:5]) or None

    def never_hit(self):
        """Operations of the document that no exchange used."""
        every = {(m, path) for path, item in self.openapi["paths"].items()
                 for m in item if m in ("get", "post", "put", "patch", "delete")}
        return sorted(every - self.hit)


def validate_all(openapi, exchanges):
    """(problems as lines, the contract for further questions)."""
    contract = Contract(openapi)
    problems = []
    for exchange in exchanges:
        wrong = contract.problem(exchange)
        if wrong:
            problems.append(f"{exchange.test}: {exchange.method} {exchange.path} -> {exchange.status}: {wrong}")
    return problems, contract
