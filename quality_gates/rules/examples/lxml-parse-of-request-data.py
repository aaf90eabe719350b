from flask import request
from lxml import etree

def read():
    # ruleid: lxml-parse-of-request-data
    return etree.fromstring(request.data)

def safe():
    # ok: lxml-parse-of-request-data
    return etree.fromstring(request.data, parser=etree.XMLParser(resolve_entities=False))
