import ssl

# ruleid: unverified-ssl-context
context = ssl._create_unverified_context()

def lax():
    context = ssl.create_default_context()
    context.check_hostname = False
    # ruleid: unverified-ssl-context
    context.verify_mode = ssl.CERT_NONE
    return context

def strict():
    context = ssl.create_default_context()
    # ok: unverified-ssl-context
    context.verify_mode = ssl.CERT_REQUIRED
    return context
