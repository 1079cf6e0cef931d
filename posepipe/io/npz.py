"""What NumPy raises for a file that is damaged, or is no .npz or .npy at all; one list for all who read such files."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib

__all__ = ["DAMAGED_NPZ", "UNREADABLE_NPZ"]

#: To be caught, behind ``OSError`` where the file cannot be read, about ``np.load`` and what is made of the arrays: the
#: zip archive (``RuntimeError`` for one said to be encrypted or of another version), what is packed in it, the header
#: of an array (whose shape may ask for any memory), and arrays that are missing or of another form.
DAMAGED_NPZ: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

#: Those, and what is raised for a file that cannot be read: for who tells no difference.
UNREADABLE_NPZ: tuple[type[Exception], ...] = (OSError, *DAMAGED_NPZ)
