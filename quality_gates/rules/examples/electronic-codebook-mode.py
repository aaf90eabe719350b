from Crypto.Cipher import AES
from cryptography.hazmat.primitives.ciphers import modes

def blocks(key):
    # ruleid: electronic-codebook-mode
    return AES.new(key, AES.MODE_ECB)

def mode():
    # ruleid: electronic-codebook-mode
    return modes.ECB()

def good(key):
    # ok: electronic-codebook-mode
    return AES.new(key, AES.MODE_GCM)
