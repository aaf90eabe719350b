import hashlib

def weak(password, salt):
    # ruleid: too-few-key-derivation-rounds
    return hashlib.pbkdf2_hmac("sha256", password, salt, 1000)

def good(password, salt):
    # ok: too-few-key-derivation-rounds
    return hashlib.pbkdf2_hmac("sha256", password, salt, 600_000)
