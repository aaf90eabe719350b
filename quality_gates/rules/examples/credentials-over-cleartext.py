import ftplib
import requests

# ruleid: credentials-over-cleartext
requests.get("http://shop.example/orders", auth=("me", secret), timeout=5)
# ruleid: credentials-over-cleartext
ftplib.FTP("files.example", "me", secret)
# ok: credentials-over-cleartext
requests.get("https://shop.example/orders", auth=("me", secret), timeout=5)
# ok: credentials-over-cleartext
requests.get("http://localhost:8080/orders", auth=("me", secret), timeout=5)
# ok: credentials-over-cleartext
ftplib.FTP("mirror.example")
