import requests
from flask import request
from urllib.parse import quote

def preview():
    # ruleid: fetch-of-address-from-request
    return requests.get(request.args["url"], timeout=5).text

@app.get("/proxy/{host}")
async def proxy(host: str):
    # ruleid: fetch-of-address-from-request
    return requests.get(f"http://{host}/status", timeout=5).text

def search():
    # ok: fetch-of-address-from-request
    return requests.get("https://search.example/?q=" + quote(request.args["q"]), timeout=5).text

def parameters():
    # ok: fetch-of-address-from-request
    return requests.get("https://search.example/", params={"q": request.args["q"]}, timeout=5).text
