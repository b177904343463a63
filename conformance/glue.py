"""Lent to the suite by the port: between text and octets, as Python 2 mixed them."""
import binascii, os

def octets(x):
    """str with one character per byte -> bytes; bytes stay as they are."""
    return x.encode("latin-1") if isinstance(x, str) else x

def chars(x):
    """bytes -> str with one character per byte."""
    return bytes(x).decode("latin-1") if isinstance(x, (bytes, bytearray, memoryview)) else x

def hexstr(x):
    return binascii.b2a_hex(octets(x)).decode("ascii")

def printable(x):
    """for values which go into JSON"""
    return bytes(x).decode("utf-8", "replace") if isinstance(x, (bytes, bytearray)) else x

def text(x):
    """case descriptions: undo the one-character-per-byte reading"""
    try:
        return x.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return x

def data_file(package, name):
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), *name.split("/"))
