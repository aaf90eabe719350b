import hashlib
import hmac

def valid(key, message, signature):
    # ruleid: digest-compared-with-equals
    return hmac.new(key, message, hashlib.sha256).hexdigest() == signature

def invalid(key, message, signature):
    expected = hmac.new(key, message, hashlib.sha256).hexdigest()
    # ruleid: digest-compared-with-equals
    if expected != signature:
        raise ValueError(signature)

def constant(key, message, signature):
    # ok: digest-compared-with-equals
    return hmac.compare_digest(hmac.new(key, message, hashlib.sha256).hexdigest(), signature)

def file_matches(content, expected):
    # ok: digest-compared-with-equals
    return hashlib.sha256(content).hexdigest() == expected
