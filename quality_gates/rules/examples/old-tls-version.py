import ssl

# ruleid: old-tls-version
old = ssl.SSLContext(ssl.PROTOCOL_TLSv1)
context = ssl.create_default_context()
# ruleid: old-tls-version
context.minimum_version = ssl.TLSVersion.TLSv1_1
# ok: old-tls-version
context.minimum_version = ssl.TLSVersion.TLSv1_3
# ok: old-tls-version
new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
