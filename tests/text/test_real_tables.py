"""Real tables read completely, and as the csv module reads them."""

import csv
from pathlib import Path

import pytest

from trivium.text.tables import open_table
from trivium.types import Row

DATA = Path(__file__).parents[3] / "shared" / "data"
KNOWN = {
    "ids-sst-train.csv": 8544,
    "ids-sst-dev.csv": 1101,
    "quora-train.csv": 40528,
    "quora-dev.csv": 10107,
    "sts-train.csv": 6040,
    "sts-dev.csv": 863,
}
REAL = sorted([*DATA.glob("*/*.csv"), *DATA.glob("*/*.tsv")])


@pytest.mark.skipif(not REAL, reason="the real tables are not beside this project (shared/data)")
def test_real_files_read_completely_and_as_the_csv_module_reads_them() -> None:
    assert set(KNOWN) <= {path.name for path in REAL}
    for path in REAL:
        with path.open(encoding="utf-8", newline="") as file:
            reference = list(csv.DictReader(file, delimiter="\t"))
        rows = [row.cells for row in open_table(path) if isinstance(row, Row)]
        assert rows == reference, path.name
        assert len(rows) == KNOWN.get(path.name, len(rows))
