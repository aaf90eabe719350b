from cryptography.hazmat.primitives.asymmetric import rsa

# ruleid: short-asymmetric-key
short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
# ok: short-asymmetric-key
good = rsa.generate_private_key(public_exponent=65537, key_size=3072)
