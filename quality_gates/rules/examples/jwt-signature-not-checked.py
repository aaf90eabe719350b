import jwt

def claims(token):
    # ruleid: jwt-signature-not-checked
    return jwt.decode(token, options={"verify_signature": False})

def checked(token, key):
    # ok: jwt-signature-not-checked
    return jwt.decode(token, key, algorithms=["RS256"])

def strict(token, key):
    # ok: jwt-signature-not-checked
    return jwt.decode(token, key, algorithms=["RS256"], options={"require": ["exp"]})
