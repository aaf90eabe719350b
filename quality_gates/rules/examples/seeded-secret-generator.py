import os
import random
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

def same():
    key = random.Random(7).randbytes(32)
    # ruleid: seeded-secret-generator
    return AESGCM(key)

def fresh():
    # ok: seeded-secret-generator
    return AESGCM(os.urandom(32))
