"""What can go wrong for reasons that the user can mend."""


class UsageError(Exception):
    """Wrong arguments: exit code 2."""


class DataError(Exception):
    """A download, a checksum or the disk failed: exit code 1."""
