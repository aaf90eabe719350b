import hashlib

def stored(password):
    # ruleid: fast-digest-of-password
    return hashlib.sha256(password.encode()).hexdigest()

def salted(user, salt):
    # ruleid: fast-digest-of-password
    return hashlib.sha512(salt + user.password.encode()).hexdigest()

def file_digest(content):
    # ok: fast-digest-of-password
    return hashlib.sha256(content).hexdigest()

def slow(password, salt):
    # ok: fast-digest-of-password
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)
