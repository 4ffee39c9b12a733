import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "http"))

from fixtures import server, weir_bin  # noqa: E402,F401 pylint: disable=unused-import
