"""The ext family (ext2, ext3, ext4), read-only. Layout after the Linux kernel's documentation of ext4 and jbd2."""
