"""What a plain scan by the YARA-X wheel finds."""

import hashlib
import re

import yara_x
from recall_rules import EXTERNALS, compiled


class Judge:
    def __init__(self, text):
        self.scanner = yara_x.Scanner(compiled(text))
        self.names = re.findall(r"^(?:private |global )*rule (\w+)", text, re.M)  # in the order of the source

    def rules_of(self, content):
        for name in EXTERNALS:
            self.scanner.set_global(name, hashlib.new(name, content).hexdigest())
        return {rule.identifier for rule in self.scanner.scan(content).matching_rules}
