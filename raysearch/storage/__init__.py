"""Where a run lives, and its files: on a disk or in a bucket, read and written alike.

folder = folder_of("s3://bucket/runs/cifar")
write(folder / "front.csv", text)
with fetched(folder / "variants" / "0007") as here: ...
"""

from raysearch.storage.files import (
    exists,
    fetched,
    names,
    read,
    read_once,
    remove,
    sizes,
    staged,
    write,
    write_once,
)
from raysearch.storage.place import Place, Remote, folder_of, resolved
from raysearch.storage.waiting import (
    hurried,
    impatiently,
    is_trouble,
    may_pass,
    patiently,
    reason_of,
    say,
    telling,
)

__all__ = [
    "Place",
    "Remote",
    "exists",
    "fetched",
    "folder_of",
    "hurried",
    "impatiently",
    "is_trouble",
    "may_pass",
    "names",
    "patiently",
    "read",
    "read_once",
    "reason_of",
    "remove",
    "resolved",
    "say",
    "sizes",
    "staged",
    "telling",
    "write",
    "write_once",
]
