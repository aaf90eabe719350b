import os
from cryptography.hazmat.primitives.ciphers import modes
from Crypto.Cipher import AES

def same():
    # ruleid: fixed-initialisation-vector
    return modes.CBC(b"0123456789abcdef")

def zeros(key):
    # ruleid: fixed-initialisation-vector
    return AES.new(key, AES.MODE_CBC, bytes(16))

def fresh():
    # ok: fixed-initialisation-vector
    return modes.CBC(os.urandom(16))
