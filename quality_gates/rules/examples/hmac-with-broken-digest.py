import hashlib
import hmac

def sign(key, message):
    # ruleid: hmac-with-broken-digest
    return hmac.new(key, message, hashlib.md5).hexdigest()

def named(key, message):
    # ruleid: hmac-with-broken-digest
    return hmac.new(key, message, digestmod="md5").hexdigest()

def strong(key, message):
    # ok: hmac-with-broken-digest
    return hmac.new(key, message, hashlib.sha256).hexdigest()
