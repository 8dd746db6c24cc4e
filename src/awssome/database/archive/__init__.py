"""Archives: one tenant's data in one file, the same whichever engine it comes from.

A ZIP file (PKWARE's APPNOTE 6.3.10; deflate) with `tables/NAME.jsonl` for each data table, a row a line as a JSON array
of texts in the canonical form of `engine.TableSum` (null for NULL), and `manifest.json`, which says whose it is, of
which revision, and proves each table by rows, checksum and SHA-256. HubSpot's tokens are in it as they are in the
tenant's schema: encrypted.
"""

from awssome.database.archive.manifest import FORMAT, Manifest, Subject, TableEntry, damaged
from awssome.database.archive.reading import Archive, opened
from awssome.database.archive.writing import write

__all__ = ["FORMAT", "Archive", "Manifest", "Subject", "TableEntry", "damaged", "opened", "write"]
