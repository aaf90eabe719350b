import jwt

def claims(token, key):
    # ruleid: jwt-none-algorithm
    return jwt.decode(token, key, algorithms=["HS256", "none"])

def written(content):
    # ruleid: jwt-none-algorithm
    return jwt.encode(content, None, algorithm="none")

def checked(token, key):
    # ok: jwt-none-algorithm
    return jwt.decode(token, key, algorithms=["HS256"])
