from Crypto.Cipher import AES, DES
from cryptography.hazmat.primitives.ciphers import algorithms

def old(key):
    # ruleid: broken-cipher
    return DES.new(key, DES.MODE_CBC)

def stream(key):
    # ruleid: broken-cipher
    return algorithms.ARC4(key)

def good(key):
    # ok: broken-cipher
    return AES.new(key, AES.MODE_GCM)
