import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "http"), str(TESTS / "model")]

from fixtures import server, weir_bin  # noqa: E402,F401 pylint: disable=unused-import
