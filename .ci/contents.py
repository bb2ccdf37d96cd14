"""Looks into the sdist and the wheel of a folder: whether all is in them that should be, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

CODE = ("klein_channels/", "twisted/plugins/")
NEVER = ("dropin.cache", ".pyc", ".db", "_trial_temp")


def main(folder: Path) -> int:
    """Print what is wrong; the number of complaints."""
    listing = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)  # noqa: S607
    files = set(listing.stdout.splitlines())
    code = {name for name in files if name.startswith(CODE)}
    wheel, sdist = names_of_wheel(folder), names_of_sdist(folder)
    beside = {name for name in wheel if not name.startswith(CODE) and ".dist-info/" not in name}
    left_out = {name for name in files if name.startswith((".ci/", ".git"))}
    complaints = [
        *(f"the wheel lacks {name}" for name in sorted(code - wheel)),
        *(f"the wheel should not have {name}" for name in sorted(beside)),
        *(f"the sdist lacks {name}" for name in sorted(files - left_out - sdist)),
        *(f"no archive should have {name}" for name in sorted(wheel | sdist) if name.endswith(NEVER)),
    ]
    if not any(name.endswith(".sql") for name in wheel):
        complaints.append("the wheel has no schema of the store")
    print("\n".join(complaints) or f"wheel: {len(wheel)} files, sdist: {len(sdist)} files, nothing missing")
    return len(complaints)


def names_of_wheel(folder: Path) -> set[str]:
    """The files in the wheel."""
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        return set(wheel.namelist())


def names_of_sdist(folder: Path) -> set[str]:
    """The files in the sdist, without the folder that all of them are in."""
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        return {member.name.partition("/")[2] for member in sdist if member.isfile()}


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
