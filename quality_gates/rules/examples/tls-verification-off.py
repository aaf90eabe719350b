import httpx
import requests

def fetch(url):
    # ruleid: tls-verification-off
    return requests.get(url, verify=False, timeout=5)

def client():
    # ruleid: tls-verification-off
    return httpx.AsyncClient(verify=False)

def session():
    session = requests.Session()
    # ruleid: tls-verification-off
    session.verify = False
    return session

def bundled(url):
    # ok: tls-verification-off
    return requests.get(url, verify="/etc/ssl/our-ca.pem", timeout=5)

def default(url):
    # ok: tls-verification-off
    return requests.get(url, timeout=5)
