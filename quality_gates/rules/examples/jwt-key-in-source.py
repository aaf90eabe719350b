import os
import jwt

def written(content):
    # ruleid: jwt-key-in-source
    return jwt.encode(content, "correct horse", algorithm="HS256")

def configured(content):
    # ok: jwt-key-in-source
    return jwt.encode(content, os.environ["TOKEN_KEY"], algorithm="HS256")
